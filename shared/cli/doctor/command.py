"""`sfvopi doctor`: runs the checks, tells what they say, and lists where to look for a symptom."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from shared.cli.doctor.bot_checks import check_bot, check_bots
from shared.cli.doctor.check import Check, Verdict, worst
from shared.cli.doctor.network_checks import check_files, check_fleet, check_ports, check_public_url
from shared.cli.doctor.redis_checks import check_redis
from shared.cli.doctor.rehearsal_checks import check_rehearsal
from shared.cli.doctor.settings_checks import check_settings, read_with_stand_ins
from shared.cli.doctor.speech_checks import check_services, check_worker_installed
from shared.cli.doctor.symptoms import BY_KEY, SYMPTOMS, Symptom, SymptomKey, as_markdown
from shared.cli.faults import FAILED, reported
from shared.cli.fleet.environment import given_settings, is_given
from shared.cli.reach import ApiOption, JsonOption, RunFile, reach
from shared.cli.terminal import show, show_json
from shared.settings import GatewaySettings, SettingsError, WorkerSettings

STYLE = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


@reported
async def doctor(
    symptom: Annotated[
        SymptomKey | None, typer.Option("--symptom", help="Only what bears on this: what shows each possible cause.")
    ] = None,
    bot: Annotated[
        str, typer.Option("--bot", metavar="BOT", help="Only this bot, module:function: run it once, without a caller.")
    ] = "",
    markdown: Annotated[
        bool, typer.Option("--markdown", help="All symptoms, as docs/symptoms.md has them; looks at nothing.")
    ] = False,
    as_json: JsonOption = False,
    api: ApiOption = "",
) -> None:
    """Look whether this machine is ready for calls, and say what to do. Exit status 1 if something is broken.

    \b
    Examples:
      sfvopi doctor
      sfvopi doctor --symptom silent
      sfvopi doctor --bot my_bot:bot
      sfvopi doctor --json | jq '.checks[] | select(.verdict != "ok")'

    \b
    Symptoms: silent, chipmunk, static, rate, talks-over, webhook-timeout, dtmf
    """
    if markdown:
        return show(as_markdown())
    asked = BY_KEY[symptom] if symptom else None
    found = _checks_of(bot) if bot else _all_checks(given_settings(), api)
    checks = [check async for check in found]
    if asked:
        checks = [c for c in checks if c.verdict is Verdict.FAIL or c.name.startswith(asked.checks)]
    symptoms = [asked] if asked else [] if bot else list(SYMPTOMS)
    verdict = worst(checks)
    if as_json:
        show_json(
            {
                "verdict": verdict,
                "checks": [asdict(check) for check in checks],
                "symptoms": [one.to_dict() for one in symptoms],
            }
        )
    else:
        _tell(checks, symptoms, in_full=asked is not None)
    if verdict is Verdict.FAIL:
        raise typer.Exit(FAILED)
    return None


async def _checks_of(bot: str) -> AsyncIterator[Check]:
    for check in (*check_worker_installed(), *check_bot(bot)):
        yield check
    async for check in check_rehearsal(bot):
        yield check


async def _all_checks(given: Mapping[str, str], api: str) -> AsyncIterator[Check]:
    for check in (*check_settings(given), *check_worker_installed()):
        yield check
    try:
        gateway, worker = read_with_stand_ins(GatewaySettings, given), read_with_stand_ins(WorkerSettings, given)
    except SettingsError:
        return  # told above; what follows would only repeat it
    for check in (*check_services(worker), *check_bots(worker)):
        yield check
    url = worker.redis_url.get_secret_value() if is_given("REDIS_URL", given) else ""
    async for check in check_redis(url):
        yield check
    if is_given("PUBLIC_WSS_URL", given):
        async for check in check_public_url(gateway.public_wss_url):
            yield check
    if api or is_given("SFVOPI_API_URL", given) or RunFile.read():
        async with reach(api) as fleet:
            async for check in check_fleet(fleet):
                yield check
    else:
        for check in check_ports(gateway):
            yield check
    yield check_files()


def _tell(checks: list[Check], symptoms: list[Symptom], in_full: bool) -> None:
    for check in checks:
        show(f"{check.verdict:<5}{check.name}: {check.found}", style=STYLE[check.verdict] if check.remedy else "")
        if check.remedy and check.verdict is not Verdict.OK:
            show(f"     → {check.remedy}")
    if symptoms:
        show()
    for symptom in symptoms:
        _tell_symptom(symptom, in_full)
    if symptoms and not in_full:
        show("\nMore on one of them: sfvopi doctor --symptom silent")


def _tell_symptom(symptom: Symptom, in_full: bool) -> None:
    show(f"{symptom.key}: {symptom.what}", style="bold")
    for clue in symptom.clues:
        show(f"  {clue.cause}")
        show(f"    seen in  {clue.seen_in}")
        if in_full:
            show(f"    do       {clue.remedy}")
