"""`python -m worker eval BOT SCENARIO…`: Pipecat's evaluations of a bot, without a fleet; one JSON object is printed.

The harness of `pipecat.evals` is used as a library: its own command line wants an older rich than ours. The bot is
served on a socket of this machine as Pipecat's runner serves it, a session for each scenario.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from shared.process.server import serve
from shared.settings import SettingsError, WorkerSettings
from shared.telemetry.logs import get_logger, set_up_logs

PASSED, FAILED, UNUSABLE = 0, 1, 2  # exit status

log = get_logger(__name__)


class Unusable(Exception):
    """A scenario or a bot that cannot be used; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    given = _parser().parse_args(arguments)
    set_up_logs("eval", "eval", given.log_level)
    try:
        report = asyncio.run(evaluate(given.bot, given.scenarios, given.within))
    except (Unusable, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    print(json.dumps(report, indent=2))
    return PASSED if report["passed"] else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m worker eval", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("bot", metavar="BOT", help="module:function, as in SFVOPI_BOT")
    parser.add_argument("scenarios", metavar="SCENARIO", nargs="+", type=Path, help="a scenario file of pipecat.evals")
    parser.add_argument("--within", metavar="S", type=float, default=20.0, help="seconds for what a turn expects (20)")
    parser.add_argument("--log-level", metavar="LEVEL", default="WARNING", help="to standard error (WARNING)")
    return parser


async def evaluate(bot_name: str, files: Sequence[Path], within_s: float = 20.0) -> dict[str, Any]:
    """The results of all scenarios in these files. Raises `Unusable`, `SettingsError`."""
    from worker.bot_logs import Owners, route_loguru

    route_loguru(Owners([bot_name]), "INFO", "WARNING")
    from worker.bot_loader import BotLoader, BotNotFound
    from worker.pipeline.services.current import use_settings

    use_settings(_settings())
    scenarios = [scenario for file in files for scenario in _load(file)]
    try:
        bot = BotLoader().load(bot_name)
    except BotNotFound as fault:
        raise Unusable(str(fault)) from None
    async with _served(bot) as url:
        results = [await _run(scenario, url, within_s) for scenario in scenarios]
    return {
        "bot": bot_name,
        "passed": all(result["passed"] or result["skipped"] for result in results),
        "scenarios": results,
    }


def _settings() -> WorkerSettings:
    """A bot's; the secret of a fleet's tokens is nothing to it."""
    given = {} if os.environ.get("SFVOPI_TOKEN_SECRETS") else {"token_secrets": uuid4().hex}
    return WorkerSettings.read(**given)


def _load(file: Path) -> list[Any]:
    from pipecat.evals.scenario import EvalScenarioFile

    try:
        return list(EvalScenarioFile.load(file))
    except Exception as error:  # whatever is wrong with the file
        raise Unusable(f"{file}: {error}") from error


async def _run(scenario: Any, url: str, within_s: float) -> dict[str, Any]:
    from pipecat.evals.session import EvalSession, EvalSessionParams

    params = EvalSessionParams(default_timeout_ms=int(within_s * 1000))
    try:
        result = await EvalSession.from_scenario(scenario, url, params=params).run()
    except Exception as error:  # services of the scenario's own that cannot be made, for one
        raise Unusable(f"{scenario.name}: {type(error).__name__}: {error}") from error
    return _described(scenario.name, result)


def _described(name: str, result: Any) -> dict[str, Any]:
    """One result, scripted or simulated."""
    failures = [
        {"turn": failure.turn_index, "event": failure.event_name, "kind": failure.kind, "reason": failure.reason}
        for failure in getattr(result, "failures", [])
    ]
    if (why := getattr(result, "failure", None)) is not None:
        failures.append({"turn": -1, "event": "simulation", "kind": "simulation", "reason": why})
    return {
        "name": name,
        "passed": result.passed,
        "skipped": getattr(result, "skipped", None) or "",
        "duration_s": round(result.duration_ms / 1000, 2),
        "turns": [getattr(turn, "status", turn) for turn in result.turns] if isinstance(result.turns, list) else [],
        "failures": failures,
    }


@contextlib.asynccontextmanager
async def _served(bot: Any) -> AsyncIterator[str]:
    """The bot behind a WebSocket, as Pipecat's runner serves it; the URL of it."""
    from pipecat.runner.types import WebSocketRunnerArguments

    async def session(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await bot(WebSocketRunnerArguments(websocket=websocket, session_id=uuid4().hex))
        except Exception:  # whatever a bot raises: its scenario fails, and this says why
            log.exception("the bot raised")

    server = await serve(Starlette(routes=[WebSocketRoute("/ws", session)]), "127.0.0.1")
    try:
        yield f"ws://127.0.0.1:{server.port}/ws"
    finally:
        await server.stop()
