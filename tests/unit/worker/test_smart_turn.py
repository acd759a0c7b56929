"""One model that decides on turns for all calls: what the stock one decides, and nobody waits for long."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pipecat.audio.turn.base_turn_analyzer import EndOfTurnState
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3

from tests.bench import sounds
from worker.pipeline import turn
from worker.pipeline.turn import SharedSmartTurnAnalyzer, tell_waits


def heard(analyzer: LocalSmartTurnAnalyzerV3, audio: bytes) -> LocalSmartTurnAnalyzerV3:
    """The analyzer, after the caller has said this and paused."""
    analyzer.set_sample_rate(8000)
    for at in range(0, len(audio), 1600):
        analyzer.append_audio(audio[at : at + 1600], True)
    analyzer.append_audio(bytes(3200), False)
    return analyzer


@pytest.fixture
def told() -> Iterator[list[float | None]]:
    seen: list[float | None] = []
    tell_waits(seen.append)
    yield seen
    turn._TELL.set(None)


async def test_it_decides_as_the_stock_one_whoever_else_asks() -> None:
    speech = sounds.speech()
    said = [speech[: at * 8000] for at in (1, 2, 3, 4)]
    stock = LocalSmartTurnAnalyzerV3()
    expected = []
    for audio in said:
        expected.append(await heard(stock, audio).analyze_end_of_turn())
        stock.clear()
    await stock.cleanup()
    asked = [heard(SharedSmartTurnAnalyzer(), audio).analyze_end_of_turn() for audio in said]
    for (state, metrics), (stock_state, stock_metrics) in zip(await asyncio.gather(*asked), expected, strict=True):
        assert state is stock_state
        assert metrics is not None
        assert stock_metrics is not None
        assert metrics.probability == pytest.approx(stock_metrics.probability, abs=1e-4)  # type: ignore[attr-defined]


async def test_what_waits_is_measured_and_when_too_many_do_the_pause_ends_the_turn(
    monkeypatch: pytest.MonkeyPatch, told: list[float | None]
) -> None:
    go_on = threading.Event()
    predict = SharedSmartTurnAnalyzer._predict_endpoint

    def slowly(self: Any, audio: Any) -> Any:
        assert go_on.wait(30)
        return predict(self, audio)

    monkeypatch.setattr(SharedSmartTurnAnalyzer, "_predict_endpoint", slowly)
    monkeypatch.setattr(turn, "MOST_WAITING", 2)
    analyzers = [heard(SharedSmartTurnAnalyzer(), sounds.speech()[:16000]) for _ in range(3)]
    waiting = [asyncio.create_task(analyzer.analyze_end_of_turn()) for analyzer in analyzers[:2]]
    await asyncio.sleep(0.05)
    began = time.monotonic()
    assert await analyzers[2].analyze_end_of_turn() == (EndOfTurnState.COMPLETE, None)
    assert time.monotonic() - began < 5, "it waits for nobody"
    go_on.set()
    assert all(metrics is not None for _, metrics in await asyncio.gather(*waiting))
    assert told.count(None) == 1
    waits = [seconds for seconds in told if seconds is not None]
    assert len(waits) == 2
    assert max(waits) >= 0.04
    assert not turn._waiting


async def test_an_analyzer_can_be_dropped_while_others_work() -> None:
    first, second = (heard(SharedSmartTurnAnalyzer(), sounds.speech()[:16000]) for _ in range(2))
    await first.cleanup()
    _, metrics = await second.analyze_end_of_turn()
    assert metrics is not None


async def test_a_workers_metrics_know_of_it(fleet: Any) -> None:
    fleet.app._smart_turn_waited(0.2)
    fleet.app._smart_turn_waited(None)
    assert fleet.count("sfvopi_smart_turn_wait_seconds_count") == 1
    assert fleet.count("sfvopi_smart_turns_undecided_total") == 1
