"""Keys that the bot itself answers, before any language model hears of them."""

from collections.abc import Awaitable, Callable, Mapping

from pipecat.frames.frames import Frame, InputDTMFFrame, TTSSpeakFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

Action = str | Callable[["DTMFRouter"], Awaitable[None]]


class DTMFRouter(FrameProcessor):
    """Maps keys to actions: a text is said; a function is called with the router. Other keys go on as they came.

    Put it between the user aggregator and the language model. A key that has an action silences the bot first, as
    speech would: who presses a key does not want to hear the rest.
    """

    def __init__(self, actions: Mapping[str, Action]) -> None:
        # texts are only passed on: queues of its own would only cost. A function may take its time.
        super().__init__(enable_direct_mode=all(isinstance(action, str) for action in actions.values()))
        self._actions = dict(actions)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Act on a known key, pass on everything else."""
        await super().process_frame(frame, direction)
        action = self._actions.get(frame.button.value) if isinstance(frame, InputDTMFFrame) else None
        if action is None:
            await self.push_frame(frame, direction)
            return
        await self.broadcast_interruption()
        if isinstance(action, str):
            await self.say(action)
        else:
            await action(self)

    async def say(self, text: str) -> None:
        """Say a text without asking the language model, which finds it in its context afterwards."""
        await self.push_frame(TTSSpeakFrame(text))
