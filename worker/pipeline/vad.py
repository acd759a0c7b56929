"""Silero voice activity detection for many calls in one process.

Pipecat's own analyzer loads the model once per call: 40–60 ms during which every other call waits, and memory
that comes back late. The model's session holds no state of a stream, so here all calls share one, and one small
pool of threads; what belongs to a stream (recurrent state, context, buffers) stays with its analyzer. Decisions
are those of the stock part, which the tests compare on the same audio.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from pipecat.audio.vad.silero import SileroOnnxModel, SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams

from worker.pipeline.onnx_weights import Floats
from worker.pipeline.silero import RATES, Silero

# 100 ms of speech start a turn: a caller who barges in is heard soon, a click is not. The stock min_volume (0.6)
# sits behind a 400 ms loudness window and costs 100 ms at each barge-in; Silero's own confidence suffices.
PHONE_PARAMS = VADParams(confidence=0.7, start_secs=0.1, stop_secs=0.2, min_volume=0.3)
# The same for the transport, which leaves the loudness out altogether.
EDGE_PARAMS = VADParams(confidence=0.7, start_secs=0.1, stop_secs=0.2, min_volume=0)


class _Session:
    """The network in place of ONNX Runtime's session, with its inputs and outputs; knows how long it has run."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._networks = {rate: Silero(rate) for rate in RATES}

    def run(self, _: None, inputs: dict[str, Any]) -> tuple[Floats, Floats]:
        began_at = time.perf_counter()
        try:
            return self._networks[int(inputs["sr"])].run(inputs["input"], inputs["state"])
        finally:
            self.spent_s += time.perf_counter() - began_at


@cache
def shared_session() -> _Session:
    """The process' one; of a stream's state it holds none."""
    return _Session()


def take_spent_s() -> float:
    """Seconds that the model has run since this was last asked; all streams together."""
    if not shared_session.cache_info().currsize:
        return 0.0  # nobody listens yet
    session = shared_session()
    spent_s, session.spent_s = session.spent_s, 0.0
    return float(spent_s)


@cache
def _shared_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="vad")


class _StreamModel(SileroOnnxModel):
    """One stream's state over the shared session."""

    def __init__(self) -> None:
        self.session = shared_session()
        self.sample_rates = list(RATES)
        self.reset_states()


class SharedSileroVADAnalyzer(SileroVADAnalyzer):
    """`SileroVADAnalyzer` for 8 or 16 kHz PCM16, with the process' one model. Cheap to make and to drop."""

    def __init__(self, *, sample_rate: int | None = None, params: VADParams | None = None) -> None:
        VADAnalyzer.__init__(self, sample_rate=sample_rate, params=params or PHONE_PARAMS)
        self._executor.shutdown(wait=False)  # it has no thread yet
        self._executor = _shared_threads()
        self._model = _StreamModel()
        self._windows_since_reset = 0
        self._low_confidence_windows = 0

    async def cleanup(self) -> None:
        """Nothing to give back: model and threads are the process'."""


def warm_up() -> None:
    """Load the model now rather than during the first call."""
    shared_session()
