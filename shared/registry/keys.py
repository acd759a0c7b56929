"""The names of all our keys in Redis. The one file that knows them.

Keys of the fleet share the hash tag `{fleet}`, keys of a call have the tag `{<call_id>}`; a script works on the
one or on the other, never on both. Every key has a time to live, which only sweeps: what counts is compared by
scripts, with the time given to them.
"""

PREFIX = "sfvopi"
FLEET = f"{PREFIX}:{{fleet}}"

WORKERS = f"{FLEET}:workers"  # hash: worker_id → its record, JSON
CAPACITIES = f"{FLEET}:capacities"  # hash: worker_id → slots that it offers
LISTING = f"{FLEET}:listing"  # set: worker_id; those whose records list the bots that they can run, and no others
LEASES = f"{FLEET}:leases"  # zset: worker_id, when its lease ends
SERVING = f"{FLEET}:serving"  # zset: worker_id, when its lease ends; those that take new calls
HOLDERS = f"{FLEET}:holders"  # hash: call_id → worker_id of its slot
SLOTS_OF = f"{FLEET}:slots:"  # + worker_id; zset: call_id, when the slot ends
NUMBER_OF = f"{FLEET}:number:"  # + number; zset: call_id, since when it counts for the number's ceiling
LINE = f"{FLEET}:line"  # zset: call_id of a caller who waits for a slot, when it came
PLACES = f"{FLEET}:places"  # hash: call_id → "until ceiling number": its place in line ends by itself, like a slot
LINE_BOTS = f"{FLEET}:line_bots"  # hash: call_id of a caller who waits for a slot → the bot that it waits for
CALLS = f"{FLEET}:calls"  # zset: call_id, when it was first heard of
ORDERS = f"{FLEET}:orders"  # hash: worker_id → what it was asked to do, and which start of it
RECONNECTS = f"{FLEET}:reconnects"  # string: the carrier was seen to bring a lost stream again
GATEWAYS = f"{FLEET}:gateways"  # zset: gateway_id, when its lease ends
EXPOSED = f"{FLEET}:exposed"  # zset: JSON of component, id and address of a process with metrics, when its lease ends
SINCE = f"{FLEET}:since"  # string: when the first heartbeat came after Redis was started empty (ms)
OUTBOX = f"{FLEET}:outbox"  # zset: call_id, when it ended
PROBATION = f"{FLEET}:probation"  # hash: worker_id → "ms call_id": when which suspect was seated there last
DEATH_OF = f"{FLEET}:death:"  # + seat; string: how that start of that worker died, JSON
CONVICTIONS = f"{FLEET}:convictions"  # zset: "bot build call_id" of a call that killed its workers, when that was said
QUARANTINE = f"{FLEET}:quarantine"  # hash: bot → since when which builds get no new calls, for which calls, JSON

HOUSEKEEPING_QUEUE = f"{FLEET}:housekeeping"  # arq's queue; its other keys have names of arq's own (arq:…)

_HOUR_MS = 3600 * 1000
FLEET_TTL_MS = 24 * _HOUR_MS  # renewed by every heartbeat
CALL_TTL_MS = 30 * 24 * _HOUR_MS  # records, timelines, index and outbox; retention deletes sooner
DEATH_TTL_MS = _HOUR_MS  # a call is judged within seconds of a death; the rest is for people
CHECKPOINT_TTL_MS = 24 * _HOUR_MS  # renewed by every turn; the call's end deletes it


def slots(worker_id: str) -> str:
    """The slots of one worker."""
    return f"{SLOTS_OF}{worker_id}"


def number(number: str) -> str:
    """The calls that count for the ceiling of one number."""
    return f"{NUMBER_OF}{number}"


def death(seat: str) -> str:
    """How one start of one worker died."""
    return f"{DEATH_OF}{seat}"


def record(call_id: str) -> str:
    """Hash: the call's record, field by field; figures are fields `figure:<name>`."""
    return f"{PREFIX}:call:{{{call_id}}}:record"


def timeline(call_id: str) -> str:
    """List: the newest entries of the call's timeline, JSON, oldest first."""
    return f"{PREFIX}:call:{{{call_id}}}:timeline"


def noted(call_id: str) -> str:
    """Number: how many entries the timeline ever had."""
    return f"{PREFIX}:call:{{{call_id}}}:noted"


def checkpoint(call_id: str) -> str:
    """String: what another worker needs to go on with the call."""
    return f"{PREFIX}:call:{{{call_id}}}:checkpoint"


def nudges(topic: str) -> str:
    """Channel: nudges to one topic."""
    return f"{PREFIX}:nudges:{topic}"
