"""Call experience: are callers happy?"""

from deploy.monitoring.panels import Board, Panel, Query
from deploy.monitoring.promql import PER_SCRAPE, a_minute, mean, or_zero, quantile, rate, total
from shared.telemetry.catalogue import (
    ANSWER_SECONDS,
    ATTACH_SECONDS,
    BARGE_IN_SECONDS,
    CALL_SECONDS,
    CALLS,
    EARLY_HANGUPS,
    FIRST_AUDIO_SECONDS,
    FRAME_LATENESS_SECONDS,
    HOLD_SECONDS,
    TURN_SECONDS,
    Metric,
)

ENDED = total(rate(CALL_SECONDS, PER_SCRAPE, "_count"))
FAILED = total(rate(CALLS, PER_SCRAPE, result="failed"))
HELD = rate(HOLD_SECONDS, PER_SCRAPE, "_count")


def percentiles(metric: Metric, **match: str) -> tuple[Query, ...]:
    """Half of all, nearly all, all but the unluckiest; single calls as dots."""
    return tuple(
        Query(quantile(q, metric, PER_SCRAPE, **match), f"p{q * 100:g}", exemplars=True) for q in (0.5, 0.95, 0.99)
    )


CALL_EXPERIENCE = Board(
    "sfvopi-calls",
    "Call experience",
    "How long callers wait, whether the bot lets itself be interrupted, how calls end. Dots are single calls.",
    (
        (
            "Waiting for the bot",
            (
                Panel(
                    "First audio", "From the stream's start to the bot's first.", percentiles(FIRST_AUDIO_SECONDS), "s"
                ),
                Panel(
                    "Turns",
                    "From a caller's last word to the bot's first.",
                    percentiles(TURN_SECONDS, stage="total"),
                    "s",
                ),
                Panel(
                    "Turns, by stage",
                    "Means of the three stages, one above the other.",
                    tuple(Query(mean(TURN_SECONDS, PER_SCRAPE, stage=stage), stage) for stage in ("stt", "llm", "tts")),
                    "s",
                    "stack",
                ),
                Panel(
                    "Before the stream",
                    "95th percentiles: answering the webhook; from there to the stream at the worker.",
                    (
                        Query(quantile(0.95, ANSWER_SECONDS), "answer", exemplars=True),
                        Query(quantile(0.95, ATTACH_SECONDS), "attach", exemplars=True),
                    ),
                    "s",
                ),
                Panel(
                    "In line",
                    "Callers a minute who had to wait in line, by what became of them.",
                    (
                        Query(
                            f"60 * {total(HELD, 'result')} > 0",
                            "{{result}}",
                        ),
                    ),
                    kind="stack",
                    is_still=True,
                ),
                Panel(
                    "Audio that came late",
                    "The worst of each call. Callers hear it where it is more than audio is sent ahead.",
                    percentiles(FRAME_LATENESS_SECONDS),
                    "s",
                ),
            ),
        ),
        (
            "Talking",
            (
                Panel(
                    "Interruptions obeyed after",
                    "From a caller's first loud frame to clearAudio.",
                    percentiles(BARGE_IN_SECONDS),
                    "s",
                ),
                Panel(
                    "Interruptions and turns, per call",
                    "Over calls that ended meanwhile.",
                    (
                        Query(
                            f"{total(rate(BARGE_IN_SECONDS, PER_SCRAPE, '_count'))} / ({ENDED} > 0)",
                            "interruptions",
                        ),
                        Query(
                            f"{total(rate(TURN_SECONDS, PER_SCRAPE, '_count', stage='total'))} / ({ENDED} > 0)",
                            "turns",
                        ),
                    ),
                ),
                Panel("Length of calls", "Of those that ended.", percentiles(CALL_SECONDS), "s"),
            ),
        ),
        (
            "How calls end",
            (
                Panel(
                    "Calls ended a minute, by result",
                    "",
                    (Query(a_minute(CALLS, "result"), "{{result}}"),),
                    kind="stack",
                ),
                Panel(
                    "Calls ended a minute, by reason",
                    "",
                    (Query(a_minute(CALLS, "reason"), "{{reason}}"),),
                    kind="stack",
                ),
                Panel(
                    "Early hang-ups",
                    "Share of ended calls whose caller left within ten seconds, without an answer.",
                    (
                        Query(
                            f"{or_zero(total(rate(EARLY_HANGUPS)))} / ({ENDED} > 0)",
                            "share",
                        ),
                    ),
                    "percentunit",
                    is_still=True,
                ),
                Panel(
                    "Failed calls",
                    "Share of ended calls that should have worked and did not.",
                    (
                        Query(
                            f"{or_zero(FAILED)} / {total(rate(CALLS))}",
                            "share",
                        ),
                    ),
                    "percentunit",
                    width=24,
                    is_still=True,
                ),
            ),
        ),
    ),
)
