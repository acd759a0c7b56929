"""`python -m worker rehearse BOT…`: the rehearsal of bots, without a fleet; one JSON object is printed.

It alone is on standard output: whatever a bot or a library prints goes to standard error.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from shared.settings import Numbers, SettingsError, WorkerSettings
from shared.telemetry.logs import set_up_logs

READY, FAILED, UNUSABLE = 0, 1, 2  # exit status


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    given = _parser().parse_args(arguments)
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    set_up_logs("rehearsal", "rehearsal", "ERROR")
    try:
        found = asyncio.run(rehearse_all(given.bots))
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    with report:
        report.write(json.dumps({"bots": found}, indent=2) + "\n")
    return FAILED if any(one["verdict"] == "failed" for one in found) else READY


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m worker rehearse", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("bots", metavar="BOT", nargs="+", help="module:function, as in SFVOPI_BOT")
    return parser


async def rehearse_all(names: Sequence[str]) -> list[dict[str, Any]]:
    """What each rehearsal showed, one after the other. Raises `SettingsError`."""
    settings = _settings()
    from worker.bot_logs import Owners, route_loguru

    route_loguru(Owners(list(names)), "INFO", "WARNING")
    from worker.bot_loader import BotLoader
    from worker.pipeline.services.current import use_settings
    from worker.tasks import install_task_factory

    install_task_factory(asyncio.get_running_loop())
    use_settings(settings)
    numbers, load = Numbers.read(settings), BotLoader().load
    return [await _rehearse(name, numbers, load) for name in names]


async def _rehearse(name: str, numbers: Numbers, load: Any) -> dict[str, Any]:
    from worker.bot_loader import BotNotFound
    from worker.pipeline.anatomy import VAD_REMEDY
    from worker.rehearsal import Verdict, rehearse

    plans = {plan.bot: plan for plan in [*numbers.by_number.values(), numbers.default]}
    try:
        bot = load(name)
    except BotNotFound as fault:
        return {"bot": name, "verdict": str(Verdict.FAILED), "fault": str(fault), "remarks": []}
    done = await rehearse(name, bot, plans.get(name, numbers.default))
    deaf = [] if done.hears or done.fault else [VAD_REMEDY]
    return {**asdict(done), "verdict": str(done.verdict), "remarks": [*deaf, *done.remarks]}


def _settings() -> WorkerSettings:
    """Those of the environment; a rehearsal verifies no tokens, so any key will do."""
    is_given = os.environ.get("SFVOPI_TOKEN_SECRETS") or os.environ.get("SFVOPI_TOKEN_SECRETS_FILE")
    return WorkerSettings.read(**({} if is_given else {"token_secrets": "of no use in a rehearsal"}))
