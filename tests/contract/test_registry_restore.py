"""A registry that was restarted empty is told again of the calls that live."""

from shared.calls.record import CallRecord
from shared.calls.state import CallEvent, CallState
from shared.registry import Registry

LOST = CallRecord(
    "c",
    CallState.ACTIVE,
    direction="INBOUND",
    from_number="+911",
    to_number="+912",
    bot="m:f",
    codec="PCMU",
    worker_id="w",
    epoch=1_800_000_000_123,
    attachments=2,
    created_at_ms=1_799_999_999_000,
    figures={"answer_ms": 3.5},
)


async def test_a_lost_call_is_known_again_with_all_its_fields_and_its_epoch(registry: Registry) -> None:
    assert await registry.restore(LOST)
    found = await registry.get("c")
    assert found is not None
    assert found.to_dict() == LOST.to_dict()
    assert [record.call_id for record in await registry.recent_calls()] == ["c"]
    moved = await registry.move("c", CallEvent.ATTACH, {})
    assert moved.record
    assert moved.record.epoch > LOST.epoch


async def test_what_the_lost_record_did_not_tell_is_stamped_when_it_happens(registry: Registry) -> None:
    """A call that is attached while nobody keeps records has no time of it: once it was taken for one of 1970."""
    await registry.restore(LOST)
    attached = (await registry.move("c", CallEvent.ATTACH, {})).record
    ended = (await registry.move("c", CallEvent.END, {})).record
    assert attached
    assert ended
    assert attached.first_attached_at_ms == ended.ended_at_ms == registry.now_ms()


async def test_a_lost_call_without_a_trace_takes_the_first_that_comes(registry: Registry) -> None:
    await registry.restore(CallRecord("c", state=CallState.ACTIVE))
    await registry.move("c", CallEvent.END, {"traceparent": "the first"})
    record = await registry.get("c")
    assert record is not None
    assert record.traceparent == "the first"


async def test_a_call_that_is_known_stays_as_it_is(registry: Registry) -> None:
    await registry.move("c", CallEvent.ANSWER, {"bot": "other:bot"})
    assert not await registry.restore(LOST)
    found = await registry.get("c")
    assert found is not None
    assert (found.state, found.bot) == (CallState.RESERVED, "other:bot")
