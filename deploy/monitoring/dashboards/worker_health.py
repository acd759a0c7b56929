"""Worker health: does each process keep up, and what does a call cost it?"""

from deploy.monitoring.panels import Board, Choice, Panel, Query
from deploy.monitoring.promql import PER_SCRAPE, a_minute, quantile, rate, series, total
from shared.telemetry.catalogue import (
    ACTIVE_CALLS,
    BOT_FAILED,
    BOT_WAITS_FOR_PROVIDER,
    BOTS_AFTER_CALL,
    CHECKPOINTS,
    CLOCK_OFFSET_SECONDS,
    FRAME_LATENESS_SECONDS,
    FRAMES_DROPPED,
    LATE_FRAMES,
    LOOP_LAG_SECONDS,
    OFFERED_CALLS,
    PROCESS_CPU_SECONDS,
    PROCESS_MEMORY_BYTES,
    PROCESS_MOST_FILES,
    PROCESS_OPEN_FILES,
    PROCESS_STARTED_SECONDS,
    PROVIDER_ERRORS,
    SESSION_TASKS_LEFT,
    STREAMS,
    STUCK_SESSIONS,
    VAD_SECONDS,
    WORK_AFTER_CALL_CUT,
)

CHOSEN = {"process": "$process"}
WORKER = {"component": "worker", **CHOSEN}


def per_call(expression: str) -> str:
    """What one call costs its worker; workers without calls are left out."""
    return f"{expression} / on (process) group_left () (avg_over_time({series(ACTIVE_CALLS, **WORKER)}[1m]) > 0)"


WORKER_HEALTH = Board(
    "sfvopi-workers",
    "Worker health",
    "Event loops, lateness, memory, files, what a call costs.",
    (
        (
            "Keeping up",
            (
                Panel(
                    "Event loop lag, 99th percentile",
                    "How late a process does what is due. Audio is sent 200 ms ahead.",
                    (Query(quantile(0.99, LOOP_LAG_SECONDS, PER_SCRAPE, "process", **CHOSEN), "{{process}}"),),
                    "s",
                ),
                Panel(
                    "Frame lateness: the worst of each call, 95th percentile",
                    "Observed when a call ends.",
                    (
                        Query(
                            quantile(0.95, FRAME_LATENESS_SECONDS, PER_SCRAPE, "process", **WORKER),
                            "{{process}}",
                            exemplars=True,
                        ),
                    ),
                    "s",
                ),
                Panel(
                    "Late pieces of audio, a second",
                    "50 ms or more after their moment.",
                    (Query(rate(LATE_FRAMES, PER_SCRAPE, **WORKER), "{{process}}"),),
                    is_still=True,
                ),
                Panel(
                    "Calls and what is offered",
                    "A loaded worker offers less.",
                    (
                        Query(series(ACTIVE_CALLS, **WORKER), "{{process}} calls"),
                        Query(series(OFFERED_CALLS, **WORKER), "{{process}} offers"),
                    ),
                ),
                Panel(
                    "CPU",
                    "Cores in use.",
                    (Query(rate(PROCESS_CPU_SECONDS, PER_SCRAPE, **CHOSEN), "{{process}}"),),
                    "percentunit",
                ),
                Panel(
                    "Speech detection",
                    "Share of a core that the model takes, over all calls of a worker.",
                    (Query(rate(VAD_SECONDS, PER_SCRAPE, **WORKER), "{{process}}"),),
                    "percentunit",
                ),
            ),
        ),
        (
            "What a call costs",
            (
                Panel(
                    "CPU per call",
                    "Share of a core, over the calls of the last minute.",
                    (Query(per_call(rate(PROCESS_CPU_SECONDS, "1m", **WORKER)), "{{process}}"),),
                    "percentunit",
                ),
                Panel(
                    "Memory per call",
                    "All that a worker has, over its calls. It should not rise from day to day.",
                    (Query(per_call(series(PROCESS_MEMORY_BYTES, **WORKER)), "{{process}}"),),
                    "bytes",
                ),
                Panel(
                    "Memory",
                    "Resident.",
                    (Query(series(PROCESS_MEMORY_BYTES, **CHOSEN), "{{process}}"),),
                    "bytes",
                ),
                Panel(
                    "Open files",
                    "Share of what the process may have open.",
                    (
                        Query(
                            f"{series(PROCESS_OPEN_FILES, **CHOSEN)} / {series(PROCESS_MOST_FILES, **CHOSEN)}",
                            "{{process}}",
                        ),
                    ),
                    "percentunit",
                ),
                Panel("Open files, number", "", (Query(series(PROCESS_OPEN_FILES, **CHOSEN), "{{process}}"),)),
                Panel(
                    "Age",
                    "Since the process was started.",
                    (Query(f"time() - {series(PROCESS_STARTED_SECONDS, **CHOSEN)}", "{{process}}"),),
                    "dtdhms",
                ),
            ),
        ),
        (
            "Trouble",
            (
                Panel(
                    "Provider errors a minute",
                    "",
                    (
                        Query(
                            a_minute(PROVIDER_ERRORS, "provider", "fault", **WORKER) + " > 0",
                            "{{provider}} {{fault}}",
                        ),
                    ),
                    kind="stack",
                    is_still=True,
                ),
                Panel(
                    "Workers that cannot run a bot, or whose provider was away at its rehearsal",
                    "What failed by its own code or settings gets no calls there; /readyz says why.",
                    (
                        Query(total(series(BOT_FAILED, **WORKER), "bot") + " > 0", "{{bot}} failed"),
                        Query(total(series(BOT_WAITS_FOR_PROVIDER, **WORKER), "bot") + " > 0", "{{bot}} waits"),
                    ),
                    is_still=True,
                ),
                Panel(
                    "Sessions that had to be cut; tasks left behind; a minute",
                    "",
                    (
                        Query(a_minute(STUCK_SESSIONS, "step", **WORKER), "{{step}}"),
                        Query(a_minute(SESSION_TASKS_LEFT, **WORKER), "tasks left"),
                    ),
                    is_still=True,
                ),
                Panel(
                    "Bots at work after their calls; cut, a minute",
                    "",
                    (
                        Query(total(series(BOTS_AFTER_CALL, **WORKER)), "at work"),
                        Query(a_minute(WORK_AFTER_CALL_CUT, "why", **WORKER), "cut: {{why}}"),
                    ),
                    is_still=True,
                ),
                Panel(
                    "The carrier's messages that could not be used, a second",
                    "",
                    (Query(total(rate(FRAMES_DROPPED, PER_SCRAPE, **WORKER), "reason"), "{{reason}}"),),
                    is_still=True,
                ),
                Panel(
                    "Streams a minute, by result",
                    "",
                    (Query(a_minute(STREAMS, "result", **WORKER) + " > 0", "{{result}}"),),
                    kind="stack",
                ),
                Panel(
                    "Conversations kept, a second",
                    "For a session to come, should this worker die.",
                    (Query(total(rate(CHECKPOINTS, PER_SCRAPE, **WORKER), "result"), "{{result}}"),),
                ),
                Panel(
                    "Clock against Redis'",
                    "How far apart, in the mean: it is told in milliseconds.",
                    (
                        Query(
                            f"abs(avg_over_time({series(CLOCK_OFFSET_SECONDS, **CHOSEN)}[{PER_SCRAPE}]))",
                            "{{process}}",
                        ),
                    ),
                    "s",
                    is_still=True,
                ),
            ),
        ),
    ),
    (Choice("process", ACTIVE_CALLS),),
)
