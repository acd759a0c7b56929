"""How records are written down: flat maps of strings, the same in Redis hashes and in the in-memory twin.

Reading is tolerant, because two versions share a fleet: unknown fields are ignored, missing or unreadable ones
take their defaults, a call in a state that this version does not know reads as NONE, such a worker as DRAINING.
Writing is strict: a field that a record does not have is a programming error (`TypeError`).
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

from shared.calls.record import CallRecord
from shared.calls.state import CallState
from shared.fleet.quarantine import Quarantine
from shared.fleet.worker import Order, WorkerRecord, WorkerState
from shared.registry.contract import Exposed, TimelineEntry

FIGURE = "figure:"  # a call's figures are fields of their own, so that merging them is just setting them

# Whoever changes these does so by an event, never by a list of changes.
OWNED = frozenset({"call_id", "state", "schema"})

# Who is first to say it is right.
ONCE = frozenset({"traceparent"})

Name = TypeVar("Name", bound=StrEnum)


def encode_changes(changes: Mapping[str, Any]) -> dict[str, str]:
    """Changes to a call's fields as they are stored. Raises `TypeError` for what is not a caller's to change."""
    stored: dict[str, str] = {}
    for name, value in changes.items():
        if name == "figures":
            stored |= {f"{FIGURE}{figure}": repr(float(number)) for figure, number in value.items()}
        elif name in _KINDS and name not in OWNED:
            stored[name] = str(_KINDS[name](value))
        else:
            raise TypeError(f"a call's {name!r} cannot be changed: it is not a field, or is set by events only")
    return stored


def encode_record(record: CallRecord) -> dict[str, str]:
    """A whole record as it is stored. A time or trace that is not known is left out: who learns it first writes it."""
    plain = {name: getattr(record, name) for name in _KINDS if name not in OWNED}
    plain = {name: value for name, value in plain.items() if value or not (name.endswith("_at_ms") or name in ONCE)}
    return {
        **encode_changes({**plain, "figures": record.figures}),
        "state": str(record.state),
        "schema": str(record.schema),
    }


def encode_exposed(process: Exposed) -> str:
    return json.dumps(process)


def decode_exposed(stored: Iterable[str]) -> list[Exposed]:
    """In order; what another version has written differently is left out."""
    found = [json.loads(line) for line in stored]
    return sorted(Exposed(*parts) for parts in found if isinstance(parts, list) and len(parts) == 3)


def decode_record(call_id: str, stored: Mapping[str, str]) -> CallRecord | None:
    """The record of a stored map, or None when the map is empty (an unknown call)."""
    if not stored:
        return None
    known: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        if name in stored:
            try:
                known[name] = kind(stored[name])
            except ValueError:
                continue
    known["call_id"] = call_id
    known["state"] = as_known(CallState, stored.get("state", ""), CallState.NONE)
    known["figures"] = MappingProxyType(_figures(stored))
    return CallRecord(**known)


def encode_worker(worker: WorkerRecord) -> str:
    """A worker's record as one JSON object."""
    return json.dumps(asdict(worker), separators=(",", ":"))


def decode_worker(worker_id: str, stored: str) -> WorkerRecord:
    """The record of a worker; what cannot be read makes a worker that takes no calls."""
    try:
        found = json.loads(stored)
    except ValueError:
        found = None
    given = found if isinstance(found, dict) else {}

    def whole(name: str) -> int:
        value = given.get(name)
        return value if isinstance(value, int) else 0

    def whole_or_none(name: str) -> int | None:
        return whole(name) if isinstance(given.get(name), int) else None

    return WorkerRecord(
        worker_id=worker_id,
        address=str(given.get("address", "")),
        state=as_known(WorkerState, str(given.get("state", "")), WorkerState.DRAINING),
        capacity=whole("capacity"),
        version=str(given.get("version", "")),
        started_at_ms=whole("started_at_ms"),
        schema=whole("schema") or 1,
        offers=whole_or_none("offers"),
        drift=whole("drift"),
        eta_s=whole_or_none("eta_s"),
        builds=_builds(given.get("builds")),
        bots=_names(given.get("bots")),
    )


def decode_quarantine(bot: str, stored: str) -> Quarantine:
    """A bot's quarantine; one that cannot be read holds for no build."""
    try:
        told = json.loads(stored)
        return Quarantine(bot, int(told["at_ms"]), tuple(map(str, told["builds"])), tuple(map(str, told["calls"])))
    except (ValueError, TypeError, KeyError):
        return Quarantine(bot, 0)


def encode_order(order: Order, worker: WorkerRecord) -> str:
    """An order to this start of a worker: another process of the same id has not been asked."""
    return f"{order}@{worker.started_at_ms}"


def decode_order(stored: str, worker: WorkerRecord) -> Order:
    """The order that was given to this start of the worker."""
    order, _, started_at_ms = stored.partition("@")
    return as_known(Order, order, Order.NONE) if started_at_ms == str(worker.started_at_ms) else Order.NONE


def encode_entry(entry: TimelineEntry) -> str:
    """A timeline entry as one JSON object."""
    return json.dumps(
        {"at_ms": entry.at_ms, "source": entry.source, "event": entry.event, "data": dict(entry.data)},
        separators=(",", ":"),
        default=str,
    )


def decode_entries(stored: Iterable[str]) -> list[TimelineEntry]:
    """Timeline entries, in their order; one that cannot be read is left out."""
    entries = []
    for line in stored:
        try:
            given = json.loads(line)
            entries.append(
                TimelineEntry(int(given["at_ms"]), str(given["source"]), str(given["event"]), given.get("data", {}))
            )
        except (ValueError, KeyError, TypeError):
            continue
    return entries


def as_known(names: type[Name], name: str, otherwise: Name) -> Name:
    """The member of this name, or `otherwise` when a newer version has put a name there that we do not know."""
    try:
        return names(name)
    except ValueError:
        return otherwise


def _builds(told: object) -> dict[str, str]:
    return {str(bot): str(build) for bot, build in told.items()} if isinstance(told, dict) else {}


def _names(given: object) -> tuple[str, ...] | None:
    """A list of names; None when it is none, and so says nothing."""
    return tuple(str(name) for name in given) if isinstance(given, list) else None


def _figures(stored: Mapping[str, str]) -> dict[str, float]:
    return {
        name.removeprefix(FIGURE): float(value) for name, value in sorted(stored.items()) if name.startswith(FIGURE)
    }


# The plain fields of a call's record and what reads their strings; `figures` and `state` have ways of their own.
_KINDS: dict[str, Callable[[Any], Any]] = {
    field.name: field.type for field in fields(CallRecord) if field.type in (str, int, float)
}
