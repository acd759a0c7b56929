"""Fleet: is there room, is anybody turned away, what comes and goes."""

from deploy.monitoring.panels import Board, Panel, Query, number
from deploy.monitoring.promql import PER_SCRAPE, a_minute, or_zero, quantile, rate, series, total
from deploy.monitoring.recording import ROOM
from shared.telemetry.catalogue import (
    ACTIVE_CALLS,
    ADMISSIONS,
    BOT_QUARANTINED,
    CALLS_BY_SOURCE,
    CALLS_DRIFT,
    CAPACITY,
    CULPRITS,
    DRAIN_ETA_SECONDS,
    DRAINING_SECONDS,
    HELD_CALLS,
    HOUSEKEEPING_ERRORS,
    OFFERED_CALLS,
    READY,
    REAPED,
    REATTACHMENTS,
    REGISTRY_ERRORS,
    REGISTRY_SECONDS,
    ROUTES,
    SESSIONS_RESUMED,
    WEBHOOK_SECONDS,
)

FLEET = Board(
    "sfvopi-fleet",
    "Fleet",
    "Calls against capacity, admissions, drains, drift, resumed calls, Redis.",
    (
        (
            "Now",
            (
                number("Calls", "Sessions of all workers.", total(series(ACTIVE_CALLS)), 4),
                number(
                    "Capacity", "Calls that serving workers take at most.", total(series(CAPACITY)), 4, is_still=True
                ),
                number(
                    "Room",
                    "Calls that could come now: less than the capacity leaves while workers are loaded.",
                    ROOM,
                    4,
                    colours=((None, "red"), (1, "green")),
                ),
                number(
                    "Waiting in line",
                    "Callers who hear music.",
                    total(series(HELD_CALLS)),
                    4,
                    is_still=True,
                    colours=((None, "green"), (1, "orange")),
                ),
                number(
                    "Draining",
                    "Processes that finish what they have.",
                    or_zero(f"count({series(DRAINING_SECONDS)} > 0)"),
                    4,
                    is_still=True,
                ),
                number(
                    "Drift",
                    "Calls on which Redis, memory and sockets disagree. Should be 0.",
                    total(series(CALLS_DRIFT)),
                    4,
                    is_still=True,
                    colours=((None, "green"), (1, "red")),
                ),
            ),
        ),
        (
            "Room and admission",
            (
                Panel(
                    "Calls against capacity",
                    "Offered is what new calls find: it falls below the capacity while workers are loaded.",
                    (
                        Query(total(series(ACTIVE_CALLS)), "calls"),
                        Query(total(series(OFFERED_CALLS)), "offered"),
                        Query(total(series(CAPACITY)), "capacity"),
                    ),
                    width=12,
                ),
                Panel(
                    "Calls by worker",
                    "Who has how many.",
                    (Query(series(ACTIVE_CALLS, component="worker"), "{{process}}"),),
                    kind="stack",
                    width=12,
                ),
                Panel(
                    "Admissions a minute, by result",
                    "What answer and fallback webhooks were told.",
                    (Query(a_minute(ADMISSIONS, "result") + " > 0", "{{result}}"),),
                    kind="stack",
                ),
                Panel(
                    "Streams a minute, by where they went",
                    "Decisions of the gateways.",
                    (Query(a_minute(ROUTES, "result") + " > 0", "{{result}}"),),
                    kind="stack",
                ),
                Panel(
                    "Webhooks, 99th percentile",
                    "From a webhook's first byte to its answer.",
                    (Query(quantile(0.99, WEBHOOK_SECONDS, PER_SCRAPE, "webhook"), "{{webhook}}"),),
                    "s",
                ),
            ),
        ),
        (
            "Coming and going",
            (
                Panel(
                    "Drains: time until the last call ends",
                    "Expected, by how long calls of these bots lasted.",
                    (Query(f"max by (process) ({series(DRAIN_ETA_SECONDS, component='worker')})", "{{process}}"),),
                    "s",
                    is_still=True,
                ),
                Panel(
                    "Calls that changed their worker",
                    "With their conversation (resumed) or without (afresh); streams that no worker took (failed). "
                    "Those that killed one: seated once more (suspect) or ended (convicted).",
                    (
                        Query(a_minute(SESSIONS_RESUMED, "result"), "{{result}}"),
                        Query(a_minute(REATTACHMENTS, result="failed"), "failed"),
                        Query(a_minute(CULPRITS, "verdict"), "{{verdict}}"),
                    ),
                    is_still=True,
                ),
                Panel(
                    "Ended for the dead",
                    "What housekeeping found, a minute, and rounds of it that were not done.",
                    (
                        Query(a_minute(REAPED, "kind"), "{{kind}}"),
                        Query(a_minute(HOUSEKEEPING_ERRORS), "not done"),
                    ),
                    is_still=True,
                ),
                Panel(
                    "Calls by source",
                    "Three counts of the same calls.",
                    (Query(total(series(CALLS_BY_SOURCE), "source"), "{{source}}"),),
                ),
                Panel(
                    "Redis: time of an answer",
                    "As processes of each kind wait for it, event loop included.",
                    (Query(quantile(0.99, REGISTRY_SECONDS, PER_SCRAPE, "component"), "{{component}} p99"),),
                    "s",
                ),
                Panel(
                    "Redis: questions that failed, a second",
                    "It was away, or too slow.",
                    (Query(total(rate(REGISTRY_ERRORS), "component"), "{{component}}"),),
                    is_still=True,
                ),
                Panel(
                    "Quarantined bots",
                    "Their calls kill workers, so new ones are not placed. `sfvopi workers` says which and what to do.",
                    (Query(f"max by (bot) ({series(BOT_QUARANTINED)})", "{{bot}}"),),
                    is_still=True,
                ),
                Panel(
                    "Ready processes",
                    "By kind.",
                    (Query(total(series(READY), "component"), "{{component}}"),),
                    width=16,
                    is_still=True,
                ),
            ),
        ),
    ),
)
