"""`sfvopi call`: place one call, as the carrier would, against any SFVoPI answer URL (or straight to a stream)."""

import asyncio
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import typer

from shared.carrier.audio import read_wav
from shared.carrier.plan import CallPlan, Dialect, HangUp, InterruptAfter, Knobs, Press, Say, Step, Wait, WaitForBot
from shared.carrier.report import CallOutcome
from shared.carrier.telling import tabulate
from shared.cli import expectations
from shared.cli.call_options import check_url, codec_of, expectations_of, format_of, method_of, recording_path
from shared.cli.call_record import fleet_behind
from shared.cli.faults import BAD_USAGE, CliFault, reported
from shared.cli.placed_call import place_and_judge, rows_of
from shared.cli.reach import RunFile
from shared.cli.terminal import out, show_json
from shared.sfvopi.errors import UnsupportedFormat
from shared.sfvopi.formats import Codec

LAST_PATIENCE_S = 2.0  # how long the bot must be quiet before the caller, having said all, hangs up
GREETING_LIMIT_S = 10.0  # a bot that has not greeted by then is not going to
BETWEEN_KEYS_S = 0.3
LISTEN_S = 30.0  # for a caller with nothing to say

EPILOG = """
The caller waits for the greeting, then says each --say (and each --wav) in turn, waiting after each for the bot's
answer; presses the keys of --dtmf; waits for the bot's answer; hangs up. The bot may hang up at any time.

sfvopi call --say "What are your opening hours?"

sfvopi call http://localhost:3000/webhook/answer --say "Tell me about my order." --say "Stop." --interrupt-after 1.5

sfvopi call --say "What are your opening hours?" --expect "half past eight" --expect "Sunday"

sfvopi call http://localhost:3000/webhook/answer --say Hello --dtmf 1 --record call.wav --json

sfvopi call wss://bots.example.com/ws --codec L16 --sample-rate 16000 --silence --hangup-after 10
"""


@reported
def call(
    url: Annotated[
        str,
        typer.Argument(
            help="The answer URL (http, https), or a stream URL (ws, wss): no webhook then. "
            "Default: the fleet that `sfvopi up` runs here.",
            show_default=False,
        ),
    ] = "",
    say: Annotated[list[str] | None, typer.Option(help="What the caller says; repeat it for the next turn.")] = None,
    wav: Annotated[list[Path] | None, typer.Option(help="Said after all --say: a mono 16-bit WAV file.")] = None,
    dtmf: Annotated[str, typer.Option(help="Keys pressed after all is said, such as 1 or 42#.")] = "",
    interrupt_after: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Each saying after the first starts so many s into the bot's answer; an only one, into its greeting.",
        ),
    ] = None,
    silence: Annotated[bool, typer.Option("--silence", help="Say nothing, listen until --hangup-after.")] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="What the bot must say, somewhere in the call; else the call has failed. Repeat it for more. Needs "
            "SFVOPI_TRANSCRIPTS=on at the fleet, or the extra `offline` here.",
        ),
    ] = None,
    hangup_after: Annotated[
        float | None,
        typer.Option(min=0, help="Hang up so many seconds after the stream began, whatever is left to say."),
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Stereo WAV: left the caller, right the bot.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, progress on stderr.")] = False,
    from_number: Annotated[str, typer.Option("--from", help="The caller's number.")] = CallPlan().from_number,
    to_number: Annotated[str, typer.Option("--to", help="The dialled number.")] = CallPlan().to_number,
    method: Annotated[str, typer.Option(help="POST or GET, for all webhooks.")] = "POST",
    fallback_url: Annotated[str, typer.Option(help="Default: …/fallback beside …/answer.")] = "",
    no_fallback: Annotated[bool, typer.Option("--no-fallback", help="Ask no fallback.")] = False,
    hangup_url: Annotated[str, typer.Option(help="Default: …/hangup beside …/answer.")] = "",
    no_hangup: Annotated[bool, typer.Option("--no-hangup", help="Send no hangup webhook.")] = False,
    quiet: Annotated[
        float, typer.Option(min=0, help="The bot has finished when it was quiet for so many seconds.")
    ] = 1.0,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for an answer of the bot.")] = 20.0,
    limit: Annotated[float, typer.Option(min=0, help="A call that lives longer (seconds) has failed.")] = 300.0,
    dialect: Annotated[
        Dialect, typer.Option(help="superset also speaks to servers written for Plivo.")
    ] = Dialect.SFVOPI,
    codec: Annotated[
        Codec | None,
        typer.Option(
            parser=codec_of, metavar="CODEC", help="PCMA, PCMU or L16, with a stream URL; else the answer decides."
        ),
    ] = None,
    sample_rate: Annotated[int | None, typer.Option(help="With --codec; default 8000.", show_default=False)] = None,
    reconnects: Annotated[int, typer.Option(min=0, help="Attempts after the socket has dropped.")] = 2,
    drop_at: Annotated[
        float | None, typer.Option(min=0, help="Break the socket so many seconds into the call.")
    ] = None,
    jitter: Annotated[float, typer.Option(min=0, help="Each frame is late by up to so many ms.")] = 0.0,
    api: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The internal address of the fleet that is called, whose record is believed. Default: SFVOPI_API_URL, "
            "or the fleet of `sfvopi up`, if that is called. Its token is SFVOPI_API_TOKEN.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Place one call and report what the caller heard. Exit status 0 only if the call completed.

    A fleet that can be asked (the one that is up in this folder, or --api) says how it ended; if its record says
    failed, the call did not complete, whatever was heard.
    """
    url = url or local_answer_url()
    check_url(url, "http", "https", "ws", "wss")
    for webhook in filter(None, (fallback_url, hangup_url)):
        check_url(webhook, "http", "https")
    if silence and (say or wav or dtmf):
        raise typer.BadParameter("--silence says nothing: leave it out, or --say, --wav and --dtmf")
    expected = expectations_of(expect or [])
    fleet = fleet_behind(url, api)
    if expected and fleet is None and not expectations.can_recognise():
        raise typer.BadParameter(expectations.NEEDS)
    try:
        steps = plan_steps(say or [], [read_wav(path) for path in wav or []], dtmf, interrupt_after, quiet, patience)
        is_stream = urlsplit(url).scheme in ("ws", "wss")
        if silence or len(steps) == 0:
            steps, hangup_after = (), LISTEN_S if hangup_after is None else hangup_after
        plan = CallPlan(
            answer_url="" if is_stream else url,
            stream_url=url if is_stream else "",
            stream_format=format_of(codec, sample_rate, is_stream=is_stream),
            steps=steps,
            method=method_of(method),
            fallback_url="" if no_fallback or is_stream else fallback_url or beside(url, "fallback"),
            hangup_url="" if no_hangup else hangup_url or ("" if is_stream else beside(url, "hangup")),
            from_number=from_number,
            to_number=to_number,
            dialect=dialect,
            knobs=Knobs(reconnects=reconnects, drop_socket_at_s=drop_at, jitter_ms=jitter),
            hangup_after_s=hangup_after,
            max_s=limit,
            record_path=recording_path(record),
            keep_audio=bool(expected),
        )
    except (ValueError, OSError, UnsupportedFormat) as error:
        raise typer.BadParameter(str(error)) from None
    placed = asyncio.run(place_and_judge(plan, fleet, expected))
    if as_json:
        show_json(placed.to_dict())
    else:
        out().print(tabulate(placed.report, rows_of(placed)), soft_wrap=False)
    if expected and placed.words is None and placed.report.heard_s and not expectations.can_recognise():
        raise CliFault(f"{placed.at_fleet.why or 'the fleet keeps no texts'}. {expectations.NEEDS}", BAD_USAGE)
    raise typer.Exit(0 if placed.report.outcome is CallOutcome.COMPLETED else 1)


def local_answer_url() -> str:
    """The answer URL of the fleet that is up in this folder, with its webhook secret."""
    found = RunFile.read()
    if found is None:
        raise typer.BadParameter("give the answer URL: no fleet is up in this folder (`sfvopi up` starts one)")
    return found.answer_url


def plan_steps(
    texts: list[str], sounds: list[bytes], keys: str, interrupt_after: float | None, quiet_s: float, patience_s: float
) -> tuple[Step, ...]:
    """The order that the epilog promises. Raises ValueError for a key that no phone has."""
    if wrong := set(keys.upper()) - set("0123456789*#ABCD"):
        raise ValueError(f"there is no key {sorted(wrong)[0]!r}: 0-9 * # A-D")
    says = [Say(text) for text in texts] + [Say(pcm=pcm) for pcm in sounds]
    listen = WaitForBot(quiet_s, patience_s)
    greeting = WaitForBot(quiet_s, min(patience_s, GREETING_LIMIT_S))
    later = listen if interrupt_after is None else InterruptAfter(interrupt_after, patience_s)
    before_first = later if len(says) == 1 and interrupt_after is not None else greeting
    steps: list[Step] = []
    for n, say in enumerate(says):
        steps += [later if n else before_first, say]
    for n, key in enumerate(keys.upper()):
        steps += [Wait(BETWEEN_KEYS_S) if n else listen if says else greeting, Press(key)]
    return (*steps, listen, Wait(LAST_PATIENCE_S), HangUp()) if steps else ()


def beside(answer_url: str, name: str) -> str:
    """The URL in which the last path segment `answer` is `name`; empty if there is no such segment."""
    parts = urlsplit(answer_url)
    head, _, last = parts.path.rstrip("/").rpartition("/")
    return urlunsplit(parts._replace(path=f"{head}/{name}")) if last == "answer" else ""


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(epilog=EPILOG)(call)
    app()
