"""Silero in batches decides as the stock analyzer does, and is no sooner fooled by what is no speech."""

import asyncio
import audioop
from collections.abc import Iterator
from importlib.resources import files

import numpy as np
import pytest
from pipecat.audio.vad.silero import SileroOnnxModel, SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams

from tests.bench import sounds
from worker.pipeline import vad_batch
from worker.pipeline.silero import Silero
from worker.pipeline.vad import EDGE_PARAMS
from worker.pipeline.vad_batch import BatchedVADAnalyzer, batch_for

RATE = 8000
FRAME = 320  # bytes of 20 ms
STOCK = VADParams()


@pytest.fixture
def analyzers() -> Iterator[list[BatchedVADAnalyzer]]:
    made: list[BatchedVADAnalyzer] = []
    yield made
    for analyzer in made:
        asyncio.run(analyzer.cleanup())


Turns = list[tuple[float, str]]


def turns_of(states: list[str]) -> Turns:
    """When (seconds) speech began and ended."""
    turns, last = [], "QUIET"
    for index, state in enumerate(states):
        if state in ("QUIET", "SPEAKING") and state != last:
            turns.append((round(0.02 * (index + 1), 2), state))
            last = state
    return turns


async def stock_turns(audio: bytes, params: VADParams, rate: int = RATE) -> Turns:
    analyzer = SileroVADAnalyzer(sample_rate=rate, params=params)
    analyzer.set_sample_rate(rate)
    size = rate // 50 * 2
    states = [(await analyzer.analyze_audio(audio[at : at + size])).name for at in range(0, len(audio), size)]
    await analyzer.cleanup()
    return turns_of(states)


async def our_turns(*audios: bytes, params: VADParams, rate: int = RATE) -> list[Turns]:
    """Of streams that come at once, judged after every 20 ms."""
    analyzers = [BatchedVADAnalyzer(rate, params) for _ in audios]
    states: list[list[str]] = [[] for _ in audios]
    size = rate // 50 * 2
    for at in range(0, max(map(len, audios)), size):
        for analyzer, audio in zip(analyzers, audios, strict=True):
            analyzer.hear(audio[at : at + size])
        while any(analyzer.pending for analyzer in analyzers):
            await asyncio.sleep(0.001)
        for analyzer, seen in zip(analyzers, states, strict=True):
            seen.append(analyzer.state.name)
    for analyzer in analyzers:
        await analyzer.cleanup()
    return [turns_of(seen) for seen in states]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad_batch, "BATCH_S", 0.0)


STOCK_MODEL = SileroOnnxModel(str(files("pipecat.audio.vad.data").joinpath("silero_vad.onnx")))


@pytest.mark.parametrize(("rate", "heard"), [(8000, 288), (16000, 576)])
def test_the_network_answers_what_the_runtime_answers(rate: int, heard: int) -> None:
    random, network = np.random.default_rng(rate), Silero(rate)
    state = stock_state = np.zeros((2, 12, 128), dtype=np.float32)
    for _ in range(100):
        loudness = random.uniform(0, 0.3, (12, 1))
        windows = (random.standard_normal((12, heard)) * loudness).clip(-1, 1).astype(np.float32)
        sure, state = network.run(windows, state)
        inputs = {"input": windows, "state": stock_state, "sr": np.array(rate, dtype=np.int64)}
        stock_sure, stock_state = STOCK_MODEL.session.run(None, inputs)
        np.testing.assert_allclose(sure, stock_sure, atol=1e-4)
        np.testing.assert_allclose(state, stock_state, atol=1e-3)


def test_a_batch_finds_what_each_stream_alone_would_find() -> None:
    batch, model = batch_for(RATE), STOCK_MODEL
    streams = [sounds.conversation(seed, seconds=2.0) for seed in range(5)]
    rows = [batch.take_row() for _ in streams]
    try:
        state = [np.zeros((2, 1, 128), dtype=np.float32) for _ in streams]
        context = [np.zeros((1, 32), dtype=np.float32) for _ in streams]
        for at in range(0, 512 * 50, 512):
            windows = [audio[at : at + 512] for audio in streams]
            together = batch.judge(rows, windows)
            for index, window in enumerate(windows):
                samples = np.frombuffer(window, dtype=np.int16).astype(np.float32)[None] / 32768.0
                heard = np.concatenate((context[index], samples), axis=1)
                inputs = {"input": heard, "state": state[index], "sr": np.array(RATE, dtype=np.int64)}
                alone, state[index] = model.session.run(None, inputs)
                context[index] = heard[:, -32:]
                assert together[index] == pytest.approx(alone.item(), abs=1e-4)
    finally:
        for row in rows:
            batch.give_back(row)


@pytest.mark.parametrize("params", [EDGE_PARAMS, STOCK], ids=["edge", "stock"])
async def test_without_the_gate_every_decision_is_the_stock_ones(
    params: VADParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vad_batch, "GATE_RMS_MOST", 0)
    audios = [sounds.conversation(seed) for seed in range(4)]
    expected = [await stock_turns(audio, params) for audio in audios]
    assert await our_turns(*audios, params=params) == expected
    assert all(len(turns) >= 4 for turns in expected), "somebody spoke, or nothing was compared"


@pytest.mark.parametrize("noise_rms", [0, 8, 30, 45, 120])
@pytest.mark.parametrize("gain", [1.0, 0.3, 0.1])
async def test_the_gate_neither_loses_nor_delays_the_start_of_speech(noise_rms: float, gain: float) -> None:
    """Tolerance: three windows of the model (100 ms) for speech 20 dB below the usual, one (32 ms) for all other."""
    audio = sounds.conversation(7, noise_rms=noise_rms, gain=gain)
    expected = await stock_turns(audio, EDGE_PARAMS)
    (found,) = await our_turns(audio, params=EDGE_PARAMS)
    tolerance_s = 0.04 if gain > 0.1 else 0.1
    assert expected
    for at, state in expected:
        if state == "SPEAKING":
            speaking = [(since, what) for since, what in found if since <= at + tolerance_s]
            assert speaking, f"the start at {at} s was lost"
            assert speaking[-1][1] == "SPEAKING", f"the start at {at} s was lost"


async def test_a_silent_line_costs_no_run_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    judge = vad_batch.Batch.judge
    monkeypatch.setattr(
        vad_batch.Batch, "judge", lambda self, rows, windows: judged.append(len(rows)) or judge(self, rows, windows)
    )
    await our_turns(sounds.noise(3.0, rms=10), params=EDGE_PARAMS)
    assert not judged
    await our_turns(sounds.noise(8.0, rms=45), params=EDGE_PARAMS)
    assert len(judged) < 125, "half of the time goes until the noise is known as such"
    judged.clear()
    await our_turns(sounds.noise(3.0, rms=300), params=EDGE_PARAMS)
    assert len(judged) == 93, "3 s of windows"


async def test_what_must_hear_the_loudness_hears_all_of_it() -> None:
    """A `min_volume` looks back over 400 ms: the gate must not hide silence from it."""
    audio = sounds.conversation(3, noise_rms=5)
    (found,) = await our_turns(audio, params=STOCK)
    assert found == await stock_turns(audio, STOCK)


async def test_at_16_khz_it_decides_as_the_stock_one() -> None:
    audio = audioop.ratecv(sounds.conversation(2), 2, 1, 8000, 16000, None)[0]
    expected = await stock_turns(audio, EDGE_PARAMS, 16000)
    (found,) = await our_turns(audio, params=EDGE_PARAMS, rate=16000)
    assert len(found) == len(expected)
    for (at, state), (stock_at, stock_state) in zip(found, expected, strict=True):
        assert state == stock_state
        assert at == pytest.approx(stock_at, abs=0.1)


@pytest.mark.parametrize("name", sorted(sounds.DISTURBANCES))
async def test_what_is_no_speech_starts_no_more_turns_than_with_the_stock_parameters(name: str) -> None:
    audio = sounds.DISTURBANCES[name](20.0)
    expected = await stock_turns(audio, STOCK)
    (found,) = await our_turns(audio, params=EDGE_PARAMS)
    starts = [at for at, state in found if state == "SPEAKING"]
    assert len(starts) <= sum(state == "SPEAKING" for _, state in expected)


async def test_a_stream_that_ends_leaves_its_row_to_the_next() -> None:
    first = BatchedVADAnalyzer(RATE, EDGE_PARAMS)
    first.hear(sounds.conversation(1, seconds=1.0))
    row = first.row
    await first.cleanup()
    await first.cleanup()
    second = BatchedVADAnalyzer(RATE, EDGE_PARAMS)
    assert second.row == row
    third = BatchedVADAnalyzer(RATE, EDGE_PARAMS)
    assert third.row != row
    await second.cleanup()
    await third.cleanup()
