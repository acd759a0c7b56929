"""Frames on their way from one end of a leg to the other: in order, unparsed, and never late.

Normally a lane is empty: what comes in goes out in the same tick, straight to the far end, if that takes it (`next`).
When it does not, sound that has waited for 200 ms is dropped, oldest first, since late sound is worse than lost sound.
All else (`start`, `dtmf`, `clearAudio`, checkpoints …) is kept in order; when that alone outgrows the lane, the far end
is lost.
A lane without a far end (`hold`) keeps the newest 3 s of sound for the next one (`go_on`).
Time is a parameter of `put` and `take`; only `next` waits.
"""

import asyncio
import re
from collections import OrderedDict, deque
from collections.abc import Callable

MAX_AGE_S = 0.2
HELD_S = 3.0
MAX_BYTES = 256 * 1024
FRAME_OVERHEAD_BYTES = 64  # so that a flood of tiny frames is bounded, too

Frame = str | bytes


_START = re.compile(r'"event"\s*:\s*"start"')


class LaneOverflow(Exception):
    """More that must not be dropped than a lane can hold."""


def is_sound(frame: Frame) -> bool:
    """Whether a frame may be dropped: `media` and `playAudio` have a payload, nothing else does; binary is no message.

    A look at the text in place of a parse. `start` is never taken for sound.
    """
    return isinstance(frame, bytes) or ('"payload"' in frame and '"start"' not in frame)


def is_start(frame: Frame) -> bool:
    """Whether a frame is the carrier's `start`, which a worker must see before all else. A look again, no parse."""
    return isinstance(frame, str) and '"start"' in frame and _START.search(frame) is not None


class Lane:
    """One direction of a leg. `dropped(n)` is told how many frames were given up."""

    def __init__(self, dropped: Callable[[int], None], clock: Callable[[], float]) -> None:
        self._frames: OrderedDict[int, tuple[float, Frame]] = OrderedDict()
        self._sound: deque[int] = deque()  # numbers of those that may be dropped
        self._number = 0
        self._bytes = 0
        self._dropped = dropped
        self._clock = clock
        self._changed = asyncio.Event()
        self._is_finished = False
        self._max_age_s = MAX_AGE_S
        self._straight: Callable[[Frame], bool] | None = None  # while somebody waits for a frame

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def waiting_bytes(self) -> int:
        """What the waiting frames take, their bookkeeping included."""
        return self._bytes

    def put(self, frame: Frame, now: float) -> None:
        """Add a frame. Raises `LaneOverflow`."""
        if self._straight is not None and not self._frames and self._straight(frame):
            return
        self._number += 1
        self._frames[self._number] = (now, frame)
        self._bytes += len(frame) + FRAME_OVERHEAD_BYTES
        if is_sound(frame):
            self._sound.append(self._number)
        self._drop_late(now)
        if self._bytes > MAX_BYTES:
            raise LaneOverflow
        self._changed.set()

    def take(self, now: float) -> Frame | None:
        """The oldest frame that is still worth sending, or None."""
        self._drop_late(now)
        if not self._frames:
            return None
        number, (_, frame) = self._frames.popitem(last=False)
        if self._sound and self._sound[0] == number:
            self._sound.popleft()
        self._bytes -= len(frame) + FRAME_OVERHEAD_BYTES
        return frame

    def hold(self) -> None:
        """There is no far end now."""
        self._max_age_s = HELD_S

    def go_on(self, now: float) -> None:
        """There is one again: what waited for it is new to it."""
        self._drop_late(now)
        self._max_age_s = MAX_AGE_S
        for number, (_, frame) in self._frames.items():
            self._frames[number] = (now, frame)

    def finish(self) -> None:
        """Nothing more will be put; what is here still goes out."""
        self._is_finished = True
        self._changed.set()

    async def next(self, straight: Callable[[Frame], bool] | None = None) -> Frame | None:
        """Wait for the next frame; None when the lane is finished and empty.

        Meanwhile whatever comes is offered to `straight` first, which says whether it took it: no frame of ours is then
        on its way, so none is overtaken, and no task has to wake for it.
        """
        while (frame := self.take(self._clock())) is None:
            if self._is_finished:
                return None
            self._changed.clear()
            self._straight = straight
            try:
                await self._changed.wait()
            finally:
                self._straight = None
        return frame

    def _drop_late(self, now: float) -> None:
        """Sound that is late goes; so does the oldest sound while there is more than the lane holds."""
        dropped = 0
        while self._sound:
            at, frame = self._frames[self._sound[0]]
            if now - at <= self._max_age_s and self._bytes <= MAX_BYTES:
                break
            del self._frames[self._sound.popleft()]
            self._bytes -= len(frame) + FRAME_OVERHEAD_BYTES
            dropped += 1
        if dropped:
            self._dropped(dropped)
