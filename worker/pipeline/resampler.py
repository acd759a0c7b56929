"""A resampler for speech on its way, 16-bit mono: what goes in comes out at once, and nothing stays behind.

soxr, which Pipecat uses, gathers 95 ms before it gives any and keeps the last 52 ms of an utterance until it is
told that this was the end, which no serializer learns. This one is a short linear-phase filter: every chunk comes
out in full, 1.5 ms late (at 8 kHz; less above), 60 dB down at what the lower rate cannot hold. It passes what a
telephone does (up to 85 % of the band), not what a studio would want.
"""

from functools import lru_cache
from math import ceil, gcd

import numpy as np
import numpy.typing as npt

HALF_LENGTH = 12.0  # of the filter, in samples of the lower rate: the delay is this long
KAISER_BETA = 5.65  # 60 dB

Samples = npt.NDArray[np.float32]


class Resampler:
    """From one sample rate (Hz) to another. Keeps the end of each chunk to join the next one to it."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._up, self._down = rate_out // gcd(rate_in, rate_out), rate_in // gcd(rate_in, rate_out)
        self._bank = _filter_bank(rate_in, rate_out)
        self.reset()

    def reset(self) -> None:
        """Forget what came before: the next chunk follows silence."""
        self._past: Samples = np.zeros(self._bank.shape[1] - 1, dtype=np.float32)
        self._next = 0  # the next output, counted in up-sampled samples from the start of the next chunk

    def resample(self, pcm: bytes) -> bytes:
        """As much audio as `pcm` holds (whole samples), at the other rate."""
        samples = np.concatenate((self._past, np.frombuffer(pcm, dtype="<i2").astype(np.float32)))
        taps = self._bank.shape[1]
        span = (len(samples) - taps + 1) * self._up
        at = np.arange(self._next, span, self._down)
        self._next += len(at) * self._down - span
        self._past = samples[len(samples) - taps + 1 :]
        if not len(at):
            return b""
        windows = np.lib.stride_tricks.sliding_window_view(samples, taps)[at // self._up]
        made: Samples = np.einsum("ij,ij->i", windows, self._bank[at % self._up])
        return bytes(np.rint(made).clip(-32768, 32767).astype("<i2").data)


@lru_cache(maxsize=16)
def _filter_bank(rate_in: int, rate_out: int) -> Samples:
    """One row of weights per position of an output between two inputs; each row leaves a constant as it is."""
    up = rate_out // gcd(rate_in, rate_out)
    lower = min(rate_in, rate_out)
    taps = ceil(2 * HALF_LENGTH * rate_in / lower) + 1
    place = np.arange(taps * up) - (taps * up - 1) / 2  # in up-sampled samples from the middle
    weights = np.sinc(place * lower / (rate_in * up)) * np.kaiser(taps * up, KAISER_BETA)
    bank = weights.reshape(taps, up).T[:, ::-1]  # oldest input first
    bank = bank / bank.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(bank, dtype=np.float32)
