"""`sfvopi bench capacity`: how many calls of one's own bot a worker carries on this machine, and what limits them."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.cli.bench.env_file import write_setting
from shared.cli.bench.measuring import Bounds, measure
from shared.cli.doctor.bot_checks import check_bot
from shared.cli.doctor.check import Verdict
from shared.cli.doctor.speech_checks import SERVICES, check_worker_installed
from shared.cli.faults import BAD_USAGE, CliFault, reported
from shared.cli.fleet.environment import given_settings, is_given
from shared.cli.reach import JsonOption
from shared.cli.terminal import say, show, show_json
from shared.settings import WorkerSettings

SETTING = "SFVOPI_CALLS_PER_WORKER"
SHORTEST_S = 60

bench_app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@bench_app.callback()
def bench() -> None:
    """Measure your own bot on this machine.

    \b
    Example:
      sfvopi bench capacity --bot my_bots.front_desk:bot
    """


@bench_app.command()
@reported
async def capacity(
    bot: Annotated[str, typer.Option(metavar="MODULE:FUNCTION", help="Default: SFVOPI_BOT.")] = "",
    most: Annotated[int, typer.Option(min=1, max=400, help="Calls at once, at most.")] = 60,
    call_minutes: Annotated[
        float, typer.Option(min=1, help="All calls together may last so long: providers are paid by the minute.")
    ] = 120,
    within: Annotated[
        float, typer.Option(min=SHORTEST_S, max=3600, help="No hold begins that would end later (seconds).")
    ] = 300,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"Set {SETTING} in this file, such as .env.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before calls go to paid providers.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find how many calls of your bot one worker carries on one core here, and what limits them.

    Callers who speak, listen and interrupt come one a second, until something is late or broken; then fewer or more of
    them stay for 20 s, until it is known how many are held. It takes some five minutes and ends by itself. The bot
    runs with your settings and keys, in a fleet of its own with its own Redis: with real providers this costs money.
    Linux, two cores or more, on which nothing else should run.

    \b
    Examples:
      sfvopi bench capacity
      sfvopi bench capacity --bot my_bots.front_desk:bot --write .env
      sfvopi bench capacity --most 10 --call-minutes 15 --yes --json | jq .calls
    """
    if sys.platform != "linux":
        raise CliFault("this needs Linux: elsewhere a process' core and its load cannot be told", BAD_USAGE)
    given = given_settings()
    made_up = {} if is_given("SFVOPI_TOKEN_SECRETS", given) else {"token_secrets": "0" * 64}
    settings = WorkerSettings.read(**made_up)
    bot = bot or settings.default_bot
    for check in [*check_worker_installed(), *check_bot(bot)]:
        if check.verdict is Verdict.FAIL:
            raise CliFault(f"{check.name}: {check.found}. {check.remedy}".strip(), BAD_USAGE)
    _warn_of_cost(settings, most, call_minutes, has_agreed=yes)
    found = await measure(bot, Bounds(most, call_minutes, within), settings.memory_limit_mb)
    if write is not None:
        write_setting(write, SETTING, str(found["calls"]))
    told = {"bot": bot, **found, "setting": f"{SETTING}={found['calls']}", "written_to": str(write or "")}
    if as_json:
        return show_json(told)
    return _show(told)


def _warn_of_cost(settings: WorkerSettings, most: int, call_minutes: float, *, has_agreed: bool) -> None:
    """Before anything is spent. Raises `CliFault` when nobody agrees."""
    paid = providers_with_keys(settings)
    bound = f"at most {most} calls at once and {call_minutes:g} minutes of all calls together"
    if not paid:
        say(f"{bound}. No key of a provider is set; if your bot has its own, each of these minutes is paid for")
        return
    say(f"{bound}, with {', '.join(paid)}: each of these minutes is paid for", style="bold")
    if has_agreed:
        return
    if not sys.stdin.isatty():
        raise CliFault("this costs money: agree with --yes, and bound it with --call-minutes and --most", BAD_USAGE)
    typer.confirm("Go on?", abort=True, err=True)


def providers_with_keys(settings: WorkerSettings) -> list[str]:
    """Providers whose keys are set: the bot may use them."""
    keys = {name: key for services in SERVICES.values() for name, key in services.items() if key}
    return sorted(name for name, key in keys.items() if getattr(settings, key).get_secret_value())


def _show(told: dict[str, Any]) -> None:
    mark = "at least " if told["is_open"] else ""
    show(f"{told['bot']}: one worker carries {mark}{told['calls']} calls on one core of this machine", style="bold")
    show(f"  limited by    {told['limit']}: {told['why']}")
    for name, room in (("memory", told["memory"]), ("open files", told["files"])):
        if room["calls"] is not None:
            show(f"  {name:<14}enough for {room['calls']} calls")
    show(f"  calls lasted  {told['call_minutes']:g} minutes together")
    where = f", written to {told['written_to']}" if told["written_to"] else ""
    show(f"{told['setting']}{where}")
