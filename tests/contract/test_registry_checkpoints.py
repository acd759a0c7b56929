"""A call's checkpoint: kept for the attachment that is current, gone with the call."""

from shared.calls.outcome import Reason
from shared.calls.state import CallEvent
from shared.registry import Registry
from shared.registry.endings import end_call


async def attached(registry: Registry, call_id: str = "c") -> int:
    """The call's epoch, once a worker has its stream (again)."""
    await registry.move(call_id, CallEvent.ANSWER, {})
    moved = await registry.move(call_id, CallEvent.ATTACH, {})
    assert moved.record
    return moved.record.epoch


async def test_what_was_kept_last_is_loaded(registry: Registry) -> None:
    assert await registry.load_checkpoint("c") is None
    epoch = await attached(registry)
    assert await registry.save_checkpoint("c", "one", epoch)
    assert await registry.save_checkpoint("c", "two", epoch)
    assert await registry.load_checkpoint("c") == "two"


async def test_a_worker_whose_call_was_attached_anew_overwrites_nothing(registry: Registry) -> None:
    old = await attached(registry)
    new = await attached(registry)
    assert await registry.save_checkpoint("c", "of the new one", new)
    assert not await registry.save_checkpoint("c", "of the old one", old)
    assert await registry.load_checkpoint("c") == "of the new one"


async def test_the_end_of_a_call_drops_it_and_nothing_is_kept_afterwards(registry: Registry) -> None:
    epoch = await attached(registry)
    await registry.save_checkpoint("c", "words", epoch)
    await end_call(registry, "c", Reason.CALLER_HUNG_UP)
    assert await registry.load_checkpoint("c") is None
    assert not await registry.save_checkpoint("c", "late words", epoch)
    assert await registry.load_checkpoint("c") is None


async def test_nothing_is_kept_for_an_unknown_call(registry: Registry) -> None:
    assert not await registry.save_checkpoint("unknown", "words", 1)
    assert await registry.load_checkpoint("unknown") is None
