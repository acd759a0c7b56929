"""Smart turn, where a bot wants a model to decide whether the caller has finished, for many calls in one process.

Pipecat's own analyzer loads the model once per call: 50 to 90 ms during which every other call waits, and 45 MB. Here
all calls share one, and one thread that gives way to the event loop: each pause in somebody's speech costs 90 ms of a
core, which nobody else should hear. Who comes while it works waits, a metric says how long; when too many wait already,
the pause itself ends the turn. Decisions are the stock part's, which the tests compare.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache
from typing import Any

from pipecat.audio.turn.base_turn_analyzer import EndOfTurnState
from pipecat.audio.turn.smart_turn.base_smart_turn import BaseSmartTurn, SmartTurnParams
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.metrics.metrics import MetricsData

MOST_WAITING = 5  # callers: half a second; an answer that is too early is better than one that comes later still
NICENESS = 5  # of its thread: with more, what it holds of the interpreter's lock would be held up by other processes

Tell = Callable[[float | None], None]  # how long (seconds) a decision waited for the model; None: it was not asked

_TELL: ContextVar[Tell | None] = ContextVar("smart_turn_tell", default=None)


def tell_waits(tell: Tell) -> None:
    """Tell of each decision in bots that are started from here on in this context; from another thread."""
    _TELL.set(tell)


class SharedSmartTurnAnalyzer(LocalSmartTurnAnalyzerV3):
    """`LocalSmartTurnAnalyzerV3` with the process' one model and thread. Cheap to make and to drop.

    For `TurnAnalyzerUserTurnStopStrategy(turn_analyzer=SharedSmartTurnAnalyzer())`; it wants the caller's audio, so the
    recognition before it must pass that on.
    """

    def __init__(self, *, sample_rate: int | None = None, params: SmartTurnParams | None = None) -> None:
        BaseSmartTurn.__init__(self, sample_rate=sample_rate, params=params)
        self._log_data = False
        self._session = _shared_session()
        self._tell = _TELL.get() or (lambda _: None)
        self._asked_at = 0.0

    @property
    def _model_executor(self) -> ThreadPoolExecutor:
        return _shared_thread()

    async def analyze_end_of_turn(self) -> tuple[EndOfTurnState, MetricsData | None]:
        """As the stock one, unless too many wait for it."""
        if len(_waiting) >= MOST_WAITING:
            self._tell(None)
            self.clear()
            return EndOfTurnState.COMPLETE, None
        self._asked_at = time.monotonic()
        _waiting.add(self)
        try:
            return await super().analyze_end_of_turn()
        finally:
            _waiting.discard(self)

    def _process_speech_segment(self, audio_buffer: Any) -> tuple[EndOfTurnState, MetricsData | None]:
        self._tell(time.monotonic() - self._asked_at)
        return super()._process_speech_segment(audio_buffer)


_waiting: set[SharedSmartTurnAnalyzer] = set()  # those in the thread's queue, and the one that is in work


@cache
def _shared_session() -> Any:
    return LocalSmartTurnAnalyzerV3()._session


@cache
def _shared_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="smart_turn", initializer=_give_way)


def _give_way() -> None:
    """Work when the event loop has nothing to do. Linux; elsewhere the thread is like any other."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # 0: this thread, which inherited the loop's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def warm_up() -> None:
    """Load the model now rather than during the first call. Takes a second."""
    _shared_session()
