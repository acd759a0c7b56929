"""Silero's network as a few matrix products: for 32 streams at once it costs less than half of what it costs in ONNX
Runtime, which convolves each stream for itself, and for one four fifths.

The weights are those of the file that Pipecat ships (Silero VAD, MIT licence), and so are the answers, to 1e-4; the
tests compare. BLAS should have one thread here: its others would spin on the cores of other workers.
"""

import numpy as np

from worker.pipeline.onnx_weights import Floats, weights_of

BRANCHES = {8000: "else_branch", 16000: "then_branch"}  # of the file's graph, which asks for the sample rate first
RATES = tuple(BRANCHES)
STEPS = 4  # spectra of a window, half a spectrum's length apart
UNITS = 128  # of the recurrent layer, of both parts of its state, and of the first convolution


class Silero:
    """The network for one sample rate (8 or 16 kHz)."""

    def __init__(self, rate: int) -> None:
        weights = weights_of(BRANCHES[rate])
        spectrum = weights["stft.forward_basis_buffer"][:, 0, :]
        convolutions = [weights[f"encoder.{n}.reparam_conv.weight"] for n in range(4)]
        self._length = spectrum.shape[1]
        self._bins = spectrum.shape[0] // 2  # real parts, then imaginary ones
        self._spectrum = _for_rows(spectrum.T)
        # over three steps each: the second and third take every other step, so what comes before the first of two
        # steps, and around the only one, is padding, which has no weight
        around = [convolution.transpose(2, 1, 0) for convolution in convolutions]
        self._first = _for_rows(np.concatenate(around[0]))
        self._second = _for_rows(np.concatenate(around[1]))
        self._third = _for_rows(np.concatenate(around[2][1:]))
        self._fourth = _for_rows(around[3][1])
        self._biases = [weights[f"encoder.{n}.reparam_conv.bias"] for n in range(4)]
        # gates come as input, forget, cell, output: the three that a sigmoid ends go first, halved, for
        # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2, and one tanh does for all four
        order = np.r_[0 : 2 * UNITS, 3 * UNITS : 4 * UNITS, 2 * UNITS : 3 * UNITS]
        halved = np.r_[np.full(3 * UNITS, 0.5, np.float32), np.ones(UNITS, np.float32)]
        gates = np.concatenate((weights["decoder.rnn.weight_ih"], weights["decoder.rnn.weight_hh"]), axis=1)
        self._gates = _for_rows(gates[order].T * halved)
        self._gates_bias = (weights["decoder.rnn.bias_ih"] + weights["decoder.rnn.bias_hh"])[order] * halved
        self._last = weights["decoder.decoder.2.weight"].reshape(UNITS, 1)
        self._last_bias = weights["decoder.decoder.2.bias"]

    def run(self, heard: Floats, state: Floats) -> tuple[Floats, Floats]:
        """How sure it is that each window is speech (`[n, 1]`, 0 to 1), and the state behind it (`[2, n, 128]`).

        `heard` are windows of 256 or 512 samples, each behind the last 32 or 64 of the one before: `[n, 288 or 576]`
        between -1 and 1.
        """
        n = len(heard)
        spectra = _steps(self._with_its_end_mirrored(heard), STEPS, self._length // 2, self._length) @ self._spectrum
        spectra *= spectra
        loudness = np.zeros((n, STEPS + 2, self._bins), np.float32)  # padded by a step at either end
        found = np.sqrt(spectra[:, : self._bins] + spectra[:, self._bins :])
        loudness[:, 1:-1] = found.reshape(n, STEPS, self._bins)
        first = np.zeros((n, STEPS + 1, UNITS), np.float32)  # padded by a step before
        found = _relu(_steps(loudness, STEPS, self._bins, 3 * self._bins) @ self._first, self._biases[0])
        first[:, 1:] = found.reshape(n, STEPS, UNITS)
        second = _relu(_steps(first, 2, 2 * UNITS, 3 * UNITS) @ self._second, self._biases[1])
        third = _relu(second.reshape(n, -1) @ self._third, self._biases[2])
        fourth = _relu(third @ self._fourth, self._biases[3])
        gates = np.concatenate((fourth, state[0]), axis=1) @ self._gates
        gates += self._gates_bias
        np.tanh(gates, out=gates)
        sigmoids, cell = gates[:, : 3 * UNITS], gates[:, 3 * UNITS :]
        sigmoids *= 0.5
        sigmoids += 0.5
        after = np.empty_like(state)
        after[1] = sigmoids[:, UNITS : 2 * UNITS] * state[1] + sigmoids[:, :UNITS] * cell
        after[0] = sigmoids[:, 2 * UNITS :] * np.tanh(after[1])
        sure = np.maximum(after[0], 0) @ self._last + self._last_bias
        return 1 / (1 + np.exp(-sure)), after

    def _with_its_end_mirrored(self, heard: Floats) -> Floats:
        n, samples = heard.shape
        more = self._length // 4
        padded = np.empty((n, samples + more), np.float32)
        padded[:, :samples] = heard
        padded[:, samples:] = heard[:, -2 : -2 - more : -1]
        return padded


def _steps(rows: Floats, steps: int, every: int, length: int) -> Floats:
    """Of each row (contiguous in memory) so many pieces, which may overlap, one below the other."""
    n, size = len(rows), rows.itemsize
    strides = (rows.strides[0], every * size, size)
    pieces: Floats = np.ndarray((n, steps, length), rows.dtype, rows, strides=strides)
    return pieces.reshape(n * steps, length)


def _relu(values: Floats, bias: Floats) -> Floats:
    values += bias
    return np.maximum(values, 0, out=values)


def _for_rows(matrix: Floats) -> Floats:
    return np.ascontiguousarray(matrix, dtype=np.float32)
