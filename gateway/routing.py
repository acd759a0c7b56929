"""Where does this call's stream go now? One pure decision for `/route` and for relayed streams.

It only reads, may be asked any number of times, and changes nothing. The worker has the last word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.admission import GATEWAY_ITSELF, IN_LINE
from shared.calls.culprit import Judgement
from shared.calls.record import CallRecord
from shared.calls.state import CallState
from shared.fleet.selector import best_worker
from shared.fleet.worker import WorkerState, WorkerView
from shared.sfvopi.closing import Refusal
from shared.tokens import StreamToken


@dataclass(frozen=True, slots=True)
class Route:
    """The stream goes to this worker (`address` is IP:port)."""

    worker_id: str
    address: str


@dataclass(frozen=True, slots=True)
class AnswerHere:
    """The stream is answered by a gateway itself, with the busy message."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The stream is held by a gateway until it is the caller's turn. No record: the registry does not tell."""

    record: CallRecord | None


@dataclass(frozen=True, slots=True)
class JudgeHere:
    """The stream goes to a gateway's own leg: its call may have killed its worker, or has killed two."""

    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Refused:
    """The stream is refused: with this status, for this reason (a value of `STREAM_REFUSALS`)."""

    status: Refusal
    why: str


Decision = Route | AnswerHere | Hold | JudgeHere | Refused


def decide(
    token: StreamToken,
    record: CallRecord | None,
    workers: Sequence[WorkerView],
    now_ms: int,
    *,
    is_perhaps_lost: bool = False,
) -> Decision:
    """Where the stream of a verified token goes. `is_perhaps_lost`: the registry may have known the call once."""
    if is_for_gateway(token):
        return AnswerHere() if now_ms <= token.attach_by_ms else Refused(Refusal.FORBIDDEN, "not_attached_in_time")
    if record is None and is_from_line(token):
        return Hold(None)
    if record is None:
        return _to_whom_it_was_promised(token, workers, now_ms, is_perhaps_lost)
    match record.state:
        case CallState.ENDED:
            return Refused(Refusal.FORBIDDEN, "ended")
        case CallState.RINGING if record.is_held:  # the line knows for how long
            return Hold(record)
        case CallState.RINGING | CallState.RESERVED if now_ms > token.attach_by_ms:
            return Refused(Refusal.FORBIDDEN, "not_attached_in_time")
        case CallState.RINGING | CallState.RESERVED if is_from_line(token):
            return Hold(record)
        case CallState.RESERVED:
            return _to_slot(record.worker_id or token.worker_id, workers, now_ms, record.bot)
        case CallState.ACTIVE | CallState.DETACHED:
            return to_session(record.worker_id, workers, now_ms, record.bot)
        case _:
            return Refused(Refusal.UNKNOWN, "unknown_call")  # other tokens are signed only after RESERVED


def past(failed_address: str, workers: Sequence[WorkerView]) -> list[WorkerView]:
    """The workers without the one at this address, which has just not taken the stream: a hint for one decision."""
    return [worker for worker in workers if worker.record.address != failed_address]


def decide_without_registry(token: StreamToken, workers: Sequence[WorkerView], now_ms: int) -> Decision:
    """The same while the registry is away: by the signed token and the workers last heard of."""
    if is_for_gateway(token):
        return decide(token, None, workers, now_ms)
    if is_from_line(token):
        return Hold(None)
    # leases end while nobody can renew them
    known = _by_id(token.worker_id, workers) or best_worker(workers, 0, token.bot)
    return _route(known) if known else Refused(Refusal.UNAVAILABLE, "registry_away")


def is_for_gateway(token: StreamToken) -> bool:
    """Whether the token was made for a busy message."""
    return token.worker_id == GATEWAY_ITSELF


def is_from_line(token: StreamToken) -> bool:
    """Whether the token was made for a caller who had to wait; it is good for the call that follows, too."""
    return token.worker_id == IN_LINE


def _to_whom_it_was_promised(
    token: StreamToken, workers: Sequence[WorkerView], now_ms: int, is_perhaps_lost: bool
) -> Decision:
    """Of a call that the registry does not know, its worker decides; a lost one may go to another."""
    known = _by_id(token.worker_id, workers)
    if known and (known.is_fresh(now_ms) or not is_perhaps_lost):
        return _route(known)
    if not is_perhaps_lost:
        return Refused(Refusal.UNKNOWN, "unknown_call")
    other = best_worker(workers, now_ms, token.bot)
    return _route(other) if other else Refused(Refusal.UNAVAILABLE, "full")


def _to_slot(worker_id: str, workers: Sequence[WorkerView], now_ms: int, bot: str) -> Decision:
    """To the worker that holds the slot; if it is gone, drains or cannot run the bot, to the best other one.

    That one may have a free slot.
    """
    holder = _by_id(worker_id, workers)
    is_open = holder is not None and holder.is_fresh(now_ms) and holder.record.state is WorkerState.SERVING
    if holder and is_open and holder.record.can_run(bot):
        return _route(holder)
    other = best_worker(workers, now_ms, bot)
    if other:
        return _route(other)
    drains = holder is not None and holder.record.state is WorkerState.DRAINING
    return Refused(Refusal.UNAVAILABLE, "draining" if drains else "full")


def to_session(worker_id: str, workers: Sequence[WorkerView], now_ms: int, bot: str) -> Route | Refused:
    """To the worker that has the session, fresh or not: a lease that was not renewed ends no live call."""
    holder = _by_id(worker_id, workers) or best_worker(workers, now_ms, bot)
    return _route(holder) if holder else Refused(Refusal.UNAVAILABLE, "full")


def _by_id(worker_id: str, workers: Sequence[WorkerView]) -> WorkerView | None:
    return next((worker for worker in workers if worker.record.worker_id == worker_id), None)


def _route(worker: WorkerView) -> Route:
    return Route(worker.record.worker_id, worker.record.address)
