"""The demo's conversation, put together from both of its ends; and its lines, in order."""

import asyncio
import time

from shared.carrier.events import CarrierEvent, EventKind
from shared.cli.api import FleetApi
from shared.cli.demo.live import LiveView
from shared.cli.demo.turns import Turn, turns_of
from tests.unit.cli.api_server import CALL, TOKEN


def entry(at_ms: int, event: str, **data: object) -> dict[str, object]:
    return {"at_ms": at_ms, "event": event, "data": data}


def test_an_interrupted_answer_belongs_to_the_question_before():
    begun = [Turn(1000, caller="What is on the menu?"), Turn(5000, caller="When do you open?")]
    timeline = [
        entry(900, "bot_said", text="Hello."),
        entry(2500, "caller_said", text="what is on the menu"),
        entry(5200, "interrupted", ms=140),
        entry(5201, "bot_said", text="Soup and", cut=True),
        entry(6500, "caller_said", text="when do you"),
        entry(6900, "caller_said", text="open"),
        entry(9000, "bot_said", text="At nine."),
    ]
    assert [turn.to_dict() for turn in turns_of(begun, timeline)] == [
        {"caller": "", "heard_by_bot": "", "bot": "Hello."},
        {"caller": "What is on the menu?", "heard_by_bot": "what is on the menu", "bot": "Soup and", "cut": True},
        {"caller": "When do you open?", "heard_by_bot": "when do you open", "bot": "At nine."},
    ]


def test_a_key_is_a_turn_even_if_the_worker_noted_it_first():
    turns = turns_of([Turn(1005, key="0")], [entry(1000, "digit", digit="0"), entry(3000, "bot_said", text="Wait.")])
    assert turns[1].to_dict() == {"caller": "", "heard_by_bot": "", "bot": "Wait.", "key": "0"}


def test_a_fleet_that_keeps_no_texts_gives_turns_without_them():
    turns = turns_of([Turn(0, caller="Hello")], [entry(900, "caller_said", words=1), entry(950, "bot_said", words=3)])
    assert turns[1].to_dict() == {"caller": "Hello", "heard_by_bot": "", "bot": ""}


async def test_lines_of_carrier_and_fleet_are_told_in_order_of_their_times(api):
    lines: list[str] = []
    now_ms = time.time_ns() // 1_000_000
    async with FleetApi(api, TOKEN) as client:
        view = LiveView(client, CALL["call_id"], lambda line: lines.append(line.plain))
        view.on_carrier_event(CarrierEvent(EventKind.KEY_PRESSED, 2.0, now_ms + 200, {"digit": "7"}))
        data = {"text": "Hi", "is_interruption": True}
        view.on_carrier_event(CarrierEvent(EventKind.CALLER_SPEAKING, 1.0, now_ms, data))
        view.on_carrier_event(CarrierEvent(EventKind.CALLER_QUIET, 1.5, now_ms, {}))
        await asyncio.wait_for(view.finish(within_s=5), 5)
    told = [line.split(" s  ", 1)[1] for line in lines]
    assert told == [
        "bot hears  my secret",
        "bot hears  key 7",
        "fleet      the call has ended: completed, bot_ended",
        "caller     Hi  (interrupts)",
        "caller     presses 7",
    ]
    assert [turn.caller or turn.key for turn in view.begun] == ["7", "Hi"]
