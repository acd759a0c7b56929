"""Checkpoints: to know what the caller has really heard, not only what was sent."""

from pipecat.frames.frames import Frame, InputTransportMessageFrame, OutputTransportMessageFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor


def checkpoint(name: str, *, interruptible: bool = True) -> OutputTransportMessageFrame:
    """A frame that asks the carrier to tell when all audio queued before it has been played.

    An interruption drops it together with the audio (unless it is not interruptible), so the answer may never come:
    never wait without a deadline.
    """
    frame = OutputTransportMessageFrame(message={"event": "checkpoint", "name": name})
    frame.interruptible = interruptible
    return frame


class CheckpointWatcher(FrameProcessor):
    """Put anywhere behind the transport's input. Event: `on_checkpoint_played(watcher, name)`."""

    def __init__(self) -> None:
        super().__init__(enable_direct_mode=True)  # it never waits: queues of its own would only cost
        self._register_event_handler("on_checkpoint_played")

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Look at what the carrier tells, and pass everything on."""
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        # the transport tells it both ways; downstream is ours
        if isinstance(frame, InputTransportMessageFrame) and direction is FrameDirection.DOWNSTREAM:
            message = frame.message if isinstance(frame.message, dict) else {}
            if message.get("event") == "playedStream":
                await self._call_event_handler("on_checkpoint_played", str(message.get("name", "")))
