"""Business: what was done for whom, and with whose help. Bots and number groups as the bots file names them."""

from deploy.monitoring.panels import Board, Choice, Panel, Query, number
from deploy.monitoring.promql import PER_SCRAPE, a_minute, increase, or_zero, rate, total
from shared.telemetry.catalogue import (
    BOT_CALLS,
    BOT_SECONDS,
    EARLY_HANGUPS,
    LLM_TOKENS,
    STT_AUDIO_SECONDS,
    TTS_CHARACTERS,
)

CHOSEN = {"bot": "$bot", "number_group": "$number_group"}
RANGE = "$__range"
CALLS, SECONDS = (total(increase(metric, RANGE, **CHOSEN)) for metric in (BOT_CALLS, BOT_SECONDS))

BUSINESS = Board(
    "sfvopi-business",
    "Business",
    "Calls, minutes and what providers were used for, by bot and number group.",
    (
        (
            "In the time shown",
            (
                number("Calls", "", CALLS, 6),
                number("Minutes", "", f"{SECONDS} / 60", 6),
                number("Minutes per call", "", f"{SECONDS} / 60 / {CALLS}", 6, is_still=True, decimals=1),
                number(
                    "Early hang-ups",
                    "Callers who left within ten seconds, without an answer.",
                    or_zero(total(increase(EARLY_HANGUPS, RANGE, **CHOSEN))),
                    6,
                    is_still=True,
                ),
            ),
        ),
        (
            "Calls and minutes",
            (
                Panel(
                    "Calls a minute, by bot",
                    "",
                    (Query(a_minute(BOT_CALLS, "bot", **CHOSEN), "{{bot}}"),),
                    kind="stack",
                ),
                Panel(
                    "Calls a minute, by number group",
                    "",
                    (
                        Query(
                            a_minute(BOT_CALLS, "number_group", **CHOSEN),
                            "{{number_group}}",
                        ),
                    ),
                    kind="stack",
                ),
                Panel(
                    "Calls a minute, by result",
                    "",
                    (Query(a_minute(BOT_CALLS, "result", **CHOSEN), "{{result}}"),),
                    kind="stack",
                ),
                Panel(
                    "Minutes a minute, by bot",
                    "Added when a session ends.",
                    (Query(total(rate(BOT_SECONDS, PER_SCRAPE, **CHOSEN), "bot"), "{{bot}}"),),
                    kind="stack",
                    width=12,
                ),
                Panel(
                    "Minutes a minute, by number group",
                    "Added when a session ends.",
                    (Query(total(rate(BOT_SECONDS, PER_SCRAPE, **CHOSEN), "number_group"), "{{number_group}}"),),
                    kind="stack",
                    width=12,
                ),
            ),
        ),
        (
            "Providers, as Pipecat's services report what they used",
            (
                Panel(
                    "Recognition: minutes of audio a minute",
                    "",
                    (
                        Query(
                            total(rate(STT_AUDIO_SECONDS, PER_SCRAPE, **CHOSEN), "provider", "bot"),
                            "{{provider}} {{bot}}",
                        ),
                    ),
                    kind="stack",
                    width=12,
                ),
                Panel(
                    "Voices: characters a minute",
                    "",
                    (
                        Query(
                            a_minute(TTS_CHARACTERS, "provider", "bot", **CHOSEN),
                            "{{provider}} {{bot}}",
                        ),
                    ),
                    kind="stack",
                    width=12,
                ),
                Panel(
                    "Language models: tokens a minute",
                    "",
                    (
                        Query(
                            a_minute(LLM_TOKENS, "provider", "kind", "bot", **CHOSEN),
                            "{{provider}} {{kind}} {{bot}}",
                        ),
                    ),
                    kind="stack",
                    width=24,
                ),
                Panel(
                    "Tokens per call, by bot",
                    "",
                    (
                        Query(
                            f"{total(increase(LLM_TOKENS, RANGE, **CHOSEN), 'bot')}"
                            f" / {total(increase(BOT_CALLS, RANGE, **CHOSEN), 'bot')}",
                            "{{bot}}",
                        ),
                    ),
                    width=12,
                    is_still=True,
                ),
                Panel(
                    "Characters per call, by bot",
                    "",
                    (
                        Query(
                            f"{total(increase(TTS_CHARACTERS, RANGE, **CHOSEN), 'bot')}"
                            f" / {total(increase(BOT_CALLS, RANGE, **CHOSEN), 'bot')}",
                            "{{bot}}",
                        ),
                    ),
                    width=12,
                    is_still=True,
                ),
            ),
        ),
    ),
    (Choice("bot", BOT_CALLS), Choice("number_group", BOT_CALLS)),
)
