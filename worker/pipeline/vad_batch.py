"""Silero for all streams of a process at once: what came within a moment goes through the model in one run.

One window costs a seventh in a batch of what it costs alone, and nobody hops between threads. What belongs to a stream
(recurrent state, context) lies in one row of the batch's arrays. A line on which nobody speaks costs no run at all:
windows that hold no more than its noise are put by, and the last of them go through the model before the first loud
one, which then finds what it would have found. Decisions are made by the stock analyzer's own rules; the tests compare.
"""

import asyncio
import audioop
import time
from collections import deque
from collections.abc import Callable
from functools import cache

import numpy as np
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState

from worker.pipeline.onnx_weights import Floats
from worker.pipeline.vad import SharedSileroVADAnalyzer, shared_session

BATCH_S = 0.03  # windows wait for each other for so long
MAX_BATCH = 32  # at a time: half a millisecond, on a fast core
TURN_S = 0.003  # after which others on the event loop have their turn
# A window is loud if it is louder than the line's noise by 3 dB. Below -58 dB (of 16 bits) nothing is; above -53 dB
# everything is, or soft speech on a noisy line would be taken for its noise.
LOUDER, GATE_RMS, GATE_RMS_MOST = 1.4, 40.0, 70.0
FLOOR_RISES = 1.02  # with each window: a line that gets noisier is known within seconds
PRE_ROLL = 8  # windows (of 32 ms) before the first loud one: each is a run of the model, which nobody else shares
HANG = 8  # windows after the last loud one: longer than the pause that ends speech
REST_RMS, REST_WINDOWS = 20.0, 20  # a line on which nobody speaks, until the model knows it as such


class Batch:
    """The model, and its state for every stream of one sample rate (8 or 16 kHz)."""

    def __init__(self, rate: int) -> None:
        self.window = 256 * rate // 8000  # samples
        self._context_size = 32 * rate // 8000
        self._rate = np.array(rate, dtype=np.int64)
        self._session = shared_session()
        self._state: Floats = np.zeros((2, 0, 128), dtype=np.float32)
        self._context: Floats = np.zeros((0, self._context_size), dtype=np.float32)
        self._free: list[int] = []
        self._waiting: dict[BatchedVADAnalyzer, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None  # that will run the batch
        self._at_rest: Floats = self._state_after_noise()

    def take_row(self) -> int:
        """A row for a stream that begins."""
        if not self._free:
            rows = len(self._context)
            more = max(8, rows)
            self._state = np.concatenate((self._state, np.zeros((2, more, 128), dtype=np.float32)), axis=1)
            self._context = np.concatenate((self._context, np.zeros((more, self._context_size), dtype=np.float32)))
            self._free = list(range(rows + more - 1, rows - 1, -1))
        row = self._free.pop()
        self.reset(row)
        return row

    def give_back(self, row: int) -> None:
        self._free.append(row)

    def reset(self, row: int) -> None:
        """Forget what this stream has heard."""
        self._state[:, row] = 0
        self._context[row] = 0

    def pause(self, row: int) -> None:
        """Windows of this stream are left out. One that has heard nothing goes on as if there had been a faint noise;
        any other keeps its state, from behind its last speech.
        """
        self._context[row] = 0
        if not self._state[:, row].any():
            self._state[:, row] = self._at_rest

    def _state_after_noise(self) -> Floats:
        row, noise = self.take_row(), np.random.default_rng(0).normal(0, REST_RMS, (REST_WINDOWS, self.window))
        for window in noise.astype(np.int16):
            self.judge([row], [window.tobytes()])
        state = self._state[:, row].copy()
        self.give_back(row)
        return state

    def want(self, analyzer: "BatchedVADAnalyzer") -> None:
        """This stream has a window to be judged: it is, in a moment."""
        self._waiting[analyzer] = None
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(BATCH_S, self._run)

    def forget(self, analyzer: "BatchedVADAnalyzer") -> None:
        self._waiting.pop(analyzer, None)

    def _run(self) -> None:
        """Judge what waits, a stream's backlog too as far as there is time: else each window of it waits for a turn.

        Not beyond a change, which is announced before the next: a short word would begin and end unnoticed.
        """
        loop, self._loop = self._loop, None
        until = time.monotonic() + TURN_S
        while self._waiting and not self._judge_next() and time.monotonic() < until:
            pass
        if self._waiting and loop is not None:
            self._loop = loop
            loop.call_soon(self._run)

    def _judge_next(self) -> bool:
        """Of every stream that waits the oldest window; whether anybody began or ceased to speak."""
        analyzers = list(self._waiting)[:MAX_BATCH]
        windows = [analyzer.pending.popleft() for analyzer in analyzers]
        for analyzer in analyzers:
            del self._waiting[analyzer]
            if analyzer.pending:
                self._waiting[analyzer] = None  # behind the others
        confidences = self.judge([analyzer.row for analyzer in analyzers], windows)
        judged = zip(analyzers, windows, confidences, strict=True)
        changes = [analyzer.decide(window, confidence) for analyzer, window, confidence in judged]
        return any(changes)

    def judge(self, rows: list[int], windows: list[bytes]) -> list[float]:
        """How sure the model is that each of these windows, one per row, is speech; the rows' states move on."""
        samples = np.frombuffer(b"".join(windows), dtype=np.int16).reshape(len(rows), self.window)
        heard = np.concatenate((self._context[rows], samples.astype(np.float32) / 32768.0), axis=1)
        inputs = {"input": heard, "state": self._state[:, rows], "sr": self._rate}
        confidences, self._state[:, rows] = self._session.run(None, inputs)
        self._context[rows] = heard[:, -self._context_size :]
        found: list[float] = confidences[:, 0].tolist()
        return found


@cache
def batch_for(rate: int) -> Batch:
    """The process' one batch of this sample rate."""
    return Batch(rate)


class _Row:
    """A stream's state in the batch, where the stock analyzer has a model of its own."""

    def __init__(self, batch: Batch, row: int) -> None:
        self._batch, self._row = batch, row

    def reset_states(self) -> None:
        self._batch.reset(self._row)


class BatchedVADAnalyzer(SharedSileroVADAnalyzer):
    """One stream's analyzer. `hear` its audio (8 or 16 kHz PCM16) as it comes; `changed` tells of each new state.

    A `min_volume` of 0 leaves out the loudness (BS.1770 over 400 ms), which costs more than the model does and hears
    nothing in the first 400 ms of a call.
    """

    def __init__(self, rate: int, params: VADParams, changed: Callable[[], None] = lambda: None) -> None:
        VADAnalyzer.__init__(self, sample_rate=rate, params=params)
        self._executor.shutdown(wait=False)  # it has no thread yet
        self._batch = batch_for(rate)
        self.row = self._batch.take_row()
        self.pending: deque[bytes] = deque()
        self._model = _Row(self._batch, self.row)  # type: ignore[assignment]
        self._windows_since_reset = self._low_confidence_windows = 0
        self._changed = changed
        self._confidence = 0.0
        self._heard = b""
        self._quiet_windows: deque[bytes] = deque(maxlen=PRE_ROLL)
        self._open_for = 0  # windows, until the gate closes
        self._floor = 0.0  # RMS of the line's noise
        self.set_sample_rate(rate)

    @property
    def state(self) -> VADState:
        return self._vad_state

    @property
    def is_quiet(self) -> bool:
        """Nothing is louder than the line's noise, and was not for a while."""
        return self._open_for <= 0 and self._vad_state is VADState.QUIET and not self.pending

    def hear(self, pcm: bytes) -> None:
        """Audio, in pieces of any length."""
        self._heard += pcm
        size = self._batch.window * 2
        while len(self._heard) >= size:
            self._gate(self._heard[:size])
            self._heard = self._heard[size:]

    def _gate(self, window: bytes) -> None:
        rms = audioop.rms(window, 2)
        self._floor = min(rms, self._floor * FLOOR_RISES + 0.1)
        is_loud = rms >= min(max(LOUDER * self._floor, GATE_RMS), GATE_RMS_MOST)
        if is_loud or self._params.min_volume > 0:  # the loudness must hear everything
            self._open_for = HANG
        else:
            self._open_for -= 1
        if self.is_quiet:
            self._quiet_windows.append(window)
            return
        if len(self._quiet_windows) == PRE_ROLL:  # there may have been more of them
            self._batch.pause(self.row)
            self._windows_since_reset = 0
        self.pending.extend(self._quiet_windows)
        self._quiet_windows.clear()
        self.pending.append(window)
        self._batch.want(self)

    def decide(self, window: bytes, confidence: float) -> bool:
        """The model's answer to the oldest window; whether that is a change."""
        before, self._confidence = self._vad_state, confidence
        self._run_analyzer(window)
        has_changed = self._vad_state is not before and self._vad_state in (VADState.SPEAKING, VADState.QUIET)
        if has_changed:
            self._changed()
        return has_changed

    def voice_confidence(self, buffer: bytes) -> float:
        """Called by the stock rules with the window that was just judged."""
        self._maybe_reset_model(self._confidence)
        return self._confidence

    def _get_smoothed_volume(self, audio: bytes) -> float:
        volume: float = 1.0 if self._params.min_volume <= 0 else super()._get_smoothed_volume(audio)
        return volume

    async def analyze_audio(self, buffer: bytes) -> VADState:
        """The state by what was heard so far."""
        return self._vad_state

    async def cleanup(self) -> None:
        """Leave the batch."""
        if self.row >= 0:
            self._batch.forget(self)
            self.pending.clear()
            self._batch.give_back(self.row)
            self.row = -1
