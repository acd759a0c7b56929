"""A bot's one call by which a conversation outlives its worker.

context = LLMContext(…)
conversation = keep_conversation(transport, context, version="1")
…
@transport.event_handler("on_client_connected")
async def greet(transport, stream):
    if conversation.is_resumed:
        await conversation.go_on()
    else:
        await pipeline.queue_frames([TTSSpeakFrame("Hello.")])
"""

import copy
from typing import Any

from pipecat.frames.frames import Frame, LLMRunFrame, TTSSpeakFrame
from pipecat.processors.aggregators.llm_context import LLMContext

from shared.calls.timeline import TimelineEvent
from worker.checkpoint import Checkpoint, shown, waits_for_an_answer, without_own
from worker.pipeline.transport import SFVoPITransport
from worker.resumption import wall_ms
from worker.stream import CallStream


class Conversation:
    """A call's conversation, kept from turn to turn. `state` is the bot's own: a dict of what JSON can hold."""

    def __init__(self, stream: CallStream, context: LLMContext, version: str, state: dict[str, Any] | None) -> None:
        self.state: dict[str, Any] = {} if state is None else state
        self._stream = stream
        self._context = context
        self._version = version
        self._own = copy.deepcopy(context.messages)  # the bot's prompt, which the next bot brings itself
        self._kept: list[int] = []  # the messages of the last checkpoint, by identity
        self._unheard: list[str] = []
        self.is_resumed = self._take_up(stream.earlier)

    def checkpoint(self) -> Checkpoint:
        """What another session needs to go on from here."""
        self._kept = [*map(id, self._context.messages)]
        messages, own = without_own(self._context.messages, self._own)
        return Checkpoint(
            bot=self._stream.bot,
            version=self._version,
            messages=messages,
            state=self.state,
            unheard=[*self._unheard, *self._stream.hearing.unheard],
            saved_at_ms=wall_ms(),
            own_count=len(self._own),
            own=own,
        )

    def is_rewritten(self) -> bool:
        """Whether the context has other messages than at the last checkpoint: no frame tells of all changes."""
        return self._kept != [*map(id, self._context.messages)]

    def changed(self) -> None:
        """`state` has changed: keep it now, not only with the next turn."""
        self._stream.watch.conversation_changed.set()

    async def go_on(self) -> None:
        """Go on where the last session was: what the caller did not hear is said again, what it asked is answered.

        With nothing unheard, or with SFVOPI_RESUME=bridge, a short line tells the caller that somebody is there.
        """
        pipeline = self._stream.pipeline
        assert pipeline is not None, "go_on() belongs into on_client_connected"
        unheard, self._unheard = self._unheard, []
        frames: list[Frame] = []
        if unheard and self._stream.repeats_unheard:
            frames += [TTSSpeakFrame(sentence) for sentence in unheard]
        else:
            if self._stream.resume_line:
                frames.append(TTSSpeakFrame(self._stream.resume_line, append_to_context=False))
            if waits_for_an_answer(without_own(self._context.messages, self._own)[0]):
                frames.append(LLMRunFrame())
        await pipeline.queue_frames(frames)

    def _take_up(self, earlier: Checkpoint | None) -> bool:
        """Whether there is a conversation to go on with: this bot's, of this version."""
        if earlier is None:
            return False
        if earlier.bot != self._stream.bot or earlier.version != self._version:
            self._stream.why_afresh = "other_bot" if earlier.bot != self._stream.bot else "other_version"
            return False
        self._context.set_messages(shown(earlier, list(self._context.messages)))
        self.state.update(earlier.state)
        self._unheard = list(earlier.unheard)
        self._stream.watch.note(TimelineEvent.RESUMED, messages=len(earlier.messages), unheard=len(earlier.unheard))
        return True


class _NotKept(Conversation):
    """Over another transport there is nobody to keep it, and nothing to go on with."""

    def __init__(self, state: dict[str, Any] | None) -> None:
        self.state = {} if state is None else state
        self.is_resumed = False

    def changed(self) -> None:
        """Nothing: it is not kept."""

    async def go_on(self) -> None:
        """Nothing: it is never resumed."""


def keep_conversation(
    transport: Any, context: LLMContext, *, version: str = "", state: dict[str, Any] | None = None
) -> Conversation:
    """Keep this call's conversation, so that it goes on if its worker dies or is drained.

    Call it before the pipeline is built, with the context that the pipeline will use. `version` names what `state` and
    the conversation mean: a session does not go on with what another version kept. `state` holds up to some 200 kB of
    JSON. Over any other transport than this fleet's nothing is kept.
    """
    if not isinstance(transport, SFVoPITransport):
        return _NotKept(state)
    stream = transport.stream
    conversation = Conversation(stream, context, version, state)
    stream.keeping = conversation
    stream.watch.conversation_changed.set()
    return conversation
