"""Conversations kept in the registry and taken up by the next session."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pipecat.frames.frames import LLMRunFrame, TTSSpeakFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.transports.base_transport import TransportParams

from shared.calls.state import CallEvent
from shared.registry import MemoryRegistry
from shared.sfvopi.formats import PCMA_8K
from shared.telemetry.meter import Meter
from worker.checkpoint import OUTCOME_UNKNOWN, Checkpoint, Unreadable, decode, encode
from worker.observing import CallWatch
from worker.pipeline.conversation import Conversation, keep_conversation
from worker.pipeline.transport import SFVoPITransport
from worker.resumption import CheckpointStore, Keeper
from worker.stream import CallStream

KEYS = ["the newest key of all keys", "an older key that is kept"]
SECRET = "my card number"


async def attached(registry: MemoryRegistry) -> int:
    await registry.move("c", CallEvent.ANSWER, {})
    moved = await registry.move("c", CallEvent.ATTACH, {})
    assert moved.record
    return moved.record.epoch


def store(registry: MemoryRegistry, *keys: str) -> CheckpointStore:
    return CheckpointStore(registry, Meter("worker"), keys)


CHECKPOINT = Checkpoint("b:bot", "1", [{"role": "user", "content": SECRET}], {"step": 2}, ["Unheard."], 5)


@pytest.mark.parametrize("keys", [(), KEYS])
async def test_what_one_worker_keeps_another_takes_up(keys: list[str]) -> None:
    registry = MemoryRegistry()
    epoch = await attached(registry)
    assert await store(registry, *keys).save("c", CHECKPOINT, epoch)
    assert await store(registry, *keys).load("c") == CHECKPOINT
    kept = await registry.load_checkpoint("c")
    assert kept is not None
    assert (SECRET in kept) is not bool(keys)


async def test_keys_are_rotated_and_what_no_key_opens_is_unreadable() -> None:
    registry = MemoryRegistry()
    epoch = await attached(registry)
    await store(registry, KEYS[1]).save("c", CHECKPOINT, epoch)
    assert await store(registry, *KEYS).load("c") == CHECKPOINT
    for other in (store(registry, KEYS[0]), store(registry)):
        with pytest.raises(Unreadable, match="unreadable"):
            await other.load("c")


async def test_why_there_is_nothing_to_go_on_with_is_said() -> None:
    registry = MemoryRegistry()
    with pytest.raises(Unreadable, match="no_checkpoint"):
        await store(registry).load("c")
    registry.is_away = True
    with pytest.raises(Unreadable, match="registry_away"):
        await store(registry).load("c")


@dataclass
class Talk:
    """A conversation of one word."""

    word: Any = "one"
    is_resumed: bool = False
    asked: int = 0

    def is_rewritten(self) -> bool:
        return False

    def checkpoint(self) -> Checkpoint:
        self.asked += 1
        return Checkpoint("b:bot", state={"word": self.word})


async def until_kept(registry: MemoryRegistry, text: str) -> None:
    async with asyncio.timeout(5):
        while text not in (await registry.load_checkpoint("c") or ""):
            await asyncio.sleep(0.01)


async def test_changes_are_kept_soon_and_many_at_once_as_one() -> None:
    registry = MemoryRegistry()
    epoch, changed, talk = await attached(registry), asyncio.Event(), Talk()
    keeper = Keeper("c", changed, lambda: epoch)
    keeper.keeping = talk
    running = asyncio.create_task(keeper.run(store(registry)))
    for _ in range(50):
        changed.set()
        await asyncio.sleep(0)
    await until_kept(registry, "one")
    assert talk.asked == 1
    talk.word = "two"
    changed.set()
    await until_kept(registry, "two")
    running.cancel()


async def test_what_could_not_be_kept_is_tried_again_and_a_state_that_is_no_json_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.resumption.RETRY_S", 0.01)
    registry = MemoryRegistry()
    epoch, changed, talk = await attached(registry), asyncio.Event(), Talk(word=object())
    keeper = Keeper("c", changed, lambda: epoch)
    keeper.keeping = talk
    running = asyncio.create_task(keeper.run(store(registry)))
    changed.set()
    async with asyncio.timeout(5):
        while not talk.asked:
            await asyncio.sleep(0.01)
    talk.word, registry.is_away = "late", True
    changed.set()
    asked = talk.asked
    async with asyncio.timeout(5):
        while talk.asked < asked + 2:
            await asyncio.sleep(0.01)
    registry.is_away = False
    await until_kept(registry, "late")
    running.cancel()


# -- the bot's side


@dataclass
class Pipeline:
    """Takes frames."""

    frames: list[Any] = field(default_factory=list)

    async def queue_frames(self, frames: list[Any]) -> None:
        self.frames += frames


def call(earlier: Checkpoint | None = None) -> tuple[SFVoPITransport, CallStream, Pipeline]:
    stream = CallStream("c", PCMA_8K, CallWatch(Meter("worker"), lambda: 0), bot="b:bot")
    stream.earlier, stream.resume_line = earlier, "We were cut off."
    stream.pipeline = pipeline = Pipeline()
    return SFVoPITransport(stream, TransportParams()), stream, pipeline


def kept(conversation: Conversation) -> Checkpoint:
    return conversation.checkpoint()


def said(pipeline: Pipeline) -> list[str]:
    return [frame.text if isinstance(frame, TTSSpeakFrame) else type(frame).__name__ for frame in pipeline.frames]


NODE = {"role": "developer", "content": "Now ask for the day."}
USER, BOT = {"role": "user", "content": "When?"}, {"role": "assistant", "content": "At nine."}


async def test_a_first_session_begins_and_keeps_what_is_not_the_bots_prompt() -> None:
    transport, stream, _ = call()
    context = LLMContext([{"role": "user", "content": "the bot's own first message"}])
    conversation = keep_conversation(transport, context, version="2", state={"step": 0})
    assert not conversation.is_resumed
    context.add_messages([USER, BOT])
    conversation.state["step"] = 3
    await stream.sentence_begun("At nine.")
    found = kept(conversation)
    assert (found.bot, found.version, found.messages, found.state) == ("b:bot", "2", [USER, BOT], {"step": 3})
    assert found.unheard == ["At nine."]


async def test_a_second_session_has_messages_and_state_and_says_again_what_was_not_heard() -> None:
    earlier = Checkpoint("b:bot", "1", [USER], {"step": 3}, ["At nine."])
    transport, _, pipeline = call(earlier)
    prompt = {"role": "user", "content": "the new bot's own"}
    context = LLMContext([prompt])
    conversation = keep_conversation(transport, context, version="1", state={"step": 0, "new": True})
    assert conversation.is_resumed
    assert context.messages == [prompt, USER]
    assert conversation.state == {"step": 3, "new": True}
    assert kept(conversation).unheard == ["At nine."], "a worker that dies at once loses nothing of it"
    await conversation.go_on()
    assert said(pipeline) == ["At nine."]


@pytest.mark.parametrize(
    ("messages", "unheard", "repeats", "expected"),
    [
        ([USER, BOT], [], True, ["We were cut off."]),
        ([USER], [], True, ["We were cut off.", "LLMRunFrame"]),
        ([NODE], [], True, ["We were cut off.", "LLMRunFrame"]),
        ([USER, BOT, NODE], [], True, ["We were cut off.", "LLMRunFrame"]),
        ([USER], ["At nine."], False, ["We were cut off.", "LLMRunFrame"]),
        ([], ["Hello."], True, ["Hello."]),
    ],
)
async def test_how_it_goes_on(messages: list[Any], unheard: list[str], repeats: bool, expected: list[str]) -> None:
    transport, stream, pipeline = call(Checkpoint("b:bot", "", messages, {}, unheard))
    stream.repeats_unheard = repeats
    await keep_conversation(transport, LLMContext()).go_on()
    assert said(pipeline) == expected
    assert all(isinstance(frame, TTSSpeakFrame | LLMRunFrame) for frame in pipeline.frames)


@pytest.mark.parametrize(("bot", "version", "why"), [("x:bot", "1", "other_bot"), ("b:bot", "0", "other_version")])
async def test_what_another_bot_or_version_kept_is_not_gone_on_with(bot: str, version: str, why: str) -> None:
    transport, stream, _ = call(Checkpoint(bot, version, [USER]))
    context = LLMContext()
    conversation = keep_conversation(transport, context, version="1")
    assert (conversation.is_resumed, stream.why_afresh, context.messages) == (False, why, [])


# -- a context that was rewritten

PROMPT = {"role": "system", "content": "Be kind."}
EXAMPLE = {"role": "user", "content": "the bot's own example"}
OWN = [PROMPT, EXAMPLE]
SUMMARY = {"role": "user", "content": "Summary: opening hours were asked for."}
CALL = {"role": "assistant", "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f"}}]}
RUNNING = {"role": "tool", "tool_call_id": "t", "content": "IN_PROGRESS"}
UNKNOWN = {"role": "tool", "tool_call_id": "t", "content": OUTCOME_UNKNOWN}


def in_place(context: LLMContext) -> None:
    context.messages[0]["content"] = "Be quick."


REWRITINGS: dict[str, tuple[Callable[[LLMContext], None], list[Any]]] = {
    "nothing": (lambda c: None, [*OWN, USER, BOT]),
    "summarised": (lambda c: c.set_messages([PROMPT, SUMMARY, BOT]), [PROMPT, SUMMARY, BOT]),
    "the oldest removed": (lambda c: c.set_messages(c.messages[3:]), [BOT]),
    "replaced by a flow's node": (lambda c: c.set_messages([NODE]), [NODE]),
    "replaced with a summary by a flow": (
        lambda c: c.set_messages([{"role": "developer", "content": "a summary"}, NODE]),
        [{"role": "developer", "content": "a summary"}, NODE],
    ),
    "replaced, the prompt written anew": (lambda c: c.set_messages([dict(PROMPT), SUMMARY]), [PROMPT, SUMMARY]),
    "emptied": (lambda c: c.set_messages([]), []),
    "the prompt edited in place": (in_place, [{**PROMPT, "content": "Be quick."}, EXAMPLE, USER, BOT]),
    "the prompt moved to the end": (lambda c: c.set_messages([USER, BOT, PROMPT]), [USER, BOT, PROMPT]),
    "an instruction in the middle": (lambda c: c.messages.insert(3, NODE), [*OWN, USER, NODE, BOT]),
    "an instruction at the end": (lambda c: c.add_message(NODE), [*OWN, USER, BOT, NODE]),
    "the caller says what the example says": (lambda c: c.add_message(dict(EXAMPLE)), [*OWN, USER, BOT, EXAMPLE]),
    "a tool in flight": (lambda c: c.add_messages([CALL, RUNNING]), [*OWN, USER, BOT, CALL, UNKNOWN]),
    "a tool called, nothing written of it": (lambda c: c.add_message(CALL), [*OWN, USER, BOT, CALL, UNKNOWN]),
    "a tool in flight, the rest removed": (lambda c: c.set_messages([CALL, RUNNING]), [CALL, UNKNOWN]),
    "the last word taken back": (lambda c: c.set_messages(c.messages[:-1]), [*OWN, USER]),
}


@pytest.mark.parametrize("rewriting", REWRITINGS)
async def test_what_is_kept_is_what_the_model_would_be_shown_next(rewriting: str) -> None:
    rewrite, expected = REWRITINGS[rewriting]
    transport, _, _ = call()
    context = LLMContext([dict(message) for message in OWN])
    conversation = keep_conversation(transport, context)
    context.add_messages([USER, BOT])
    rewrite(context)
    carried = decode(encode(kept(conversation)))
    for _ in range(2):  # and a third session has the same
        transport, _, _ = call(carried)
        context = LLMContext([dict(message) for message in OWN])
        again = keep_conversation(transport, context)
        assert again.is_resumed
        assert context.messages == expected
        carried = decode(encode(kept(again)))


async def test_a_newer_bots_prompt_takes_the_place_of_the_one_before() -> None:
    transport, _, _ = call()
    context = LLMContext([dict(PROMPT)])
    conversation = keep_conversation(transport, context)
    context.set_messages([dict(PROMPT), SUMMARY, BOT])
    transport, _, _ = call(decode(encode(kept(conversation))))
    newer = {"role": "system", "content": "Be kinder."}
    context = LLMContext([newer])
    keep_conversation(transport, context)
    assert context.messages == [newer, SUMMARY, BOT]


async def test_a_rewriting_that_no_frame_tells_of_is_noticed() -> None:
    transport, _, _ = call()
    context = LLMContext([dict(PROMPT)])
    conversation = keep_conversation(transport, context)
    assert conversation.is_rewritten()
    kept(conversation)
    assert not conversation.is_rewritten()
    context.set_messages([dict(PROMPT)])
    assert conversation.is_rewritten()
