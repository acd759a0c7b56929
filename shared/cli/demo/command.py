"""`sfvopi demo`: brings a fleet up, places one call, tells it live, shows its figures, and ends."""

import asyncio
import contextlib
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan
from shared.carrier.report import CallOutcome, CallReport
from shared.carrier.speech import SpeechUnavailable, speak
from shared.carrier.telling import tabulate
from shared.cli.demo.live import LiveView
from shared.cli.demo.script import LONGEST_S, STEPS, TEXTS
from shared.cli.demo.turns import turns_of
from shared.cli.doctor.speech_checks import missing_for_demo
from shared.cli.faults import BAD_USAGE, CliFault, reported
from shared.cli.fleet import LocalFleet
from shared.cli.fleet.environment import given_settings
from shared.cli.reach import HOME
from shared.cli.terminal import err, out, say, show_json
from shared.sfvopi.formats import Codec

BOT = "worker.bots.receptionist:bot"
KEPT_SETTINGS = ("SFVOPI_PIPER_VOICE", "SFVOPI_WHISPER_MODEL")  # models of one's own; nothing else is let in
END_NOTED_WITHIN_S = 3.0


@reported
async def demo(
    codec: Annotated[Codec, typer.Option(help="What the call's audio travels in; all at 8000 Hz.")] = Codec.PCMA,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 2,
    logs: Annotated[
        Path | None, typer.Option(help="Keep the processes' logs in this folder; else only those of a failed call.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object as the last line of standard output; the rest elsewhere.")
    ] = False,
) -> None:
    """Hear one whole call: no keys, no phone, no Redis. About a minute; ends by itself.

    Starts a gateway, workers, housekeeping and an embedded Redis as processes of their own. A simulated caller asks
    a question, interrupts the answer, presses a key and says goodbye, to a bot with real voice activity detection,
    speech recognition and synthesis. Exit status 0 if the call completed.

    \b
    Examples:
      sfvopi demo
      sfvopi demo --codec L16
      sfvopi demo --json | tail -1 | jq .first_audio_ms
    """
    if missing := missing_for_demo():
        raise CliFault(
            f"the demo needs {', '.join(missing)}: pip install 'sfvopi-fleet[worker,offline,embedded]'", BAD_USAGE
        )
    console = err() if as_json else out()
    recording = _recording_path(codec)
    async with _fleet(codec, workers, logs) as fleet:
        report, view = await _call(fleet, recording, lambda line: console.print(line))
        result = _result(report, view)
        if as_json:
            show_json(result)
        else:
            _show(console, report)
        if report.outcome is not CallOutcome.COMPLETED:
            why = "; ".join(report.errors) or "see above"
            raise CliFault(f"the call did not complete ({why}). The processes' logs are in {fleet.folder}")


@contextlib.asynccontextmanager
async def _fleet(codec: Codec, workers: int, logs: Path | None) -> AsyncIterator[LocalFleet]:
    """A fleet that is ready, with the caller's speech made meanwhile."""
    kept = {name: value for name, value in given_settings().items() if name in KEPT_SETTINGS}
    say(f"starting: Redis, gateway, {workers} workers, housekeeping; the first run also makes the caller's speech")
    speech = asyncio.create_task(speak(TEXTS), name="speech")
    fleet = LocalFleet(
        workers=workers,
        bot=BOT,
        run_dir=logs,
        env={"SFVOPI_TRANSCRIPTS": "on", "SFVOPI_CODEC": str(codec), "SFVOPI_SAMPLE_RATE": "8000", **kept},
        on_progress=lambda process, what: say(f"  {process:<14}{what}", style="dim"),
    )
    try:
        async with fleet:
            try:
                await speech
            except SpeechUnavailable as error:
                raise CliFault(str(error)) from None
            yield fleet
    finally:
        speech.cancel()


async def _call(fleet: LocalFleet, recording: Path, show: Callable[[Text], None]) -> tuple[CallReport, LiveView]:
    plan = CallPlan(
        answer_url=fleet.answer_url,
        fallback_url=fleet.fallback_url,
        hangup_url=fleet.hangup_url,
        call_uuid=str(uuid.uuid4()),
        steps=STEPS,
        max_s=LONGEST_S,
        record_path=str(recording),
    )
    view = LiveView(fleet.api, plan.call_uuid, show)
    following = asyncio.create_task(view.follow(), name="follow")
    try:
        report = await place_call(plan, view.on_carrier_event)
    finally:
        following.cancel()
        await asyncio.wait([following])
    await view.finish(END_NOTED_WITHIN_S)
    return report, view


def _result(report: CallReport, view: LiveView) -> dict[str, Any]:
    """The figures of `sfvopi call`, with the conversation as both sides had it in place of the caller's side alone."""
    turns = [turn.to_dict() for turn in turns_of(view.begun, view.timeline)]
    return {**report.to_dict(), "caller_turns": report.to_dict()["turns"], "turns": turns}


def _show(console: Console, report: CallReport) -> None:
    console.print()
    console.print(tabulate(report), soft_wrap=False)
    console.print(Text(f"\nListen to it (left the caller, right the bot): {report.recording or 'not recorded'}"))


def _recording_path(codec: Codec) -> Path:
    name = f"demo-{datetime.now():%Y%m%d-%H%M%S}-{codec.lower()}.wav"
    try:
        HOME.mkdir(parents=True, exist_ok=True)
        probe = HOME / f".{name}"
        probe.touch()
        probe.unlink()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="sfvopi-demo-")) / name
    return (HOME / name).absolute()
