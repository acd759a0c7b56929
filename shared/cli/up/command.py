"""`sfvopi up`: starts the fleet, prints what to paste into SFVoPI, keeps it up, drains it on one Ctrl-C."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Awaitable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.faults import BAD_USAGE, FAILED, CliFault, reported
from shared.cli.fleet import LocalFleet, WebhookUrls
from shared.cli.fleet.environment import given_settings, is_given
from shared.cli.fleet.ports import is_free
from shared.cli.reach import HOME, RunFile
from shared.cli.terminal import say, show
from shared.cli.up.keeping import Wishes, keep_up, restart_when_asked, tell_logs
from shared.cli.up.output import queued_output
from shared.cli.up.tunnel import Tunnel, find_tunnel
from shared.networks import is_loopback
from shared.settings import GatewaySettings, HousekeepingSettings, WorkerSettings

EVERYTHING, WARNING = 0, 30  # levels; SFVOPI_LOG_LEVEL says what there is
SECRET_FILE = "webhook-secret"  # noqa: S105  a file's name


@reported
async def up(
    port: Annotated[int | None, typer.Option(help="For webhooks and streams. Default: SFVOPI_GATEWAY_PORT.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
    gateways: Annotated[int, typer.Option(min=1, max=16, help="Gateway processes, on one port.")] = 1,
    tunnel: Annotated[bool, typer.Option("--tunnel", help="Open a tunnel with ngrok or cloudflared.")] = False,
    public_url: Annotated[
        str, typer.Option(metavar="URL", help="wss://host/ws as SFVoPI reaches it. Default: PUBLIC_WSS_URL.")
    ] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Tell warnings and errors only; log files have all.")] = False,
) -> None:
    """Run a whole fleet on this machine: gateway, workers, housekeeping, and Redis if REDIS_URL is not set.

    Prints the webhook URLs to paste into SFVoPI. One Ctrl-C drains: no new calls, live ones finish. A second ends
    them. `sfvopi restart` replaces every process under its calls. Settings come from the environment and .env; logs
    lie in ./.sfvopi/logs. Other sfvopi commands in this folder find the fleet by themselves.

    \b
    Examples:
      sfvopi up                                      for `sfvopi call` in the same folder
      sfvopi up --tunnel                             and connect a real number
      sfvopi up --public-url wss://bots.example.com/ws --workers 4
    """
    given = given_settings()
    with queued_output(), Wishes().listening() as wishes:
        async with contextlib.AsyncExitStack() as stack:
            logs = _log_folder()
            listen_on = port or int(given.get("SFVOPI_GATEWAY_PORT") or 3000)
            opened = find_tunnel(listen_on, logs) if tunnel else None
            if opened:
                say(f"opening a tunnel with {opened.kind.name} …")
                stack.push_async_callback(opened.close)
                if not await _unless_stopped(opened.open(), wishes):
                    return
            fleet = _plan(given, listen_on, workers, gateways, opened.wss_url if opened else public_url, logs)
            stack.push_async_callback(fleet.close)
            if await _unless_stopped(fleet.start(), wishes):
                await _run(fleet, wishes, opened, WARNING if quiet else EVERYTHING)


def _plan(given: Mapping[str, str], port: int, workers: int, gateways: int, public_url: str, logs: Path) -> LocalFleet:
    """The fleet, with what is given taken over and the rest made up. Raises what is wrong with the settings."""
    wss_url = public_url or given.get("PUBLIC_WSS_URL", "") or f"ws://127.0.0.1:{port}/ws"
    made_up = {} if is_given("SFVOPI_TOKEN_SECRETS", given) else {"token_secrets": "made up below"}
    kept = {} if is_given("SFVOPI_WEBHOOK_SECRETS", given) else {"webhook_secrets": _kept_secret()}
    settings = GatewaySettings.read(public_wss_url=wss_url, **made_up, **kept)
    worker = WorkerSettings.read(**made_up)
    if workers > 1 and (worker.port or worker.address):
        say("SFVOPI_WORKER_PORT and SFVOPI_WORKER_ADDRESS fit one worker only: each of these takes a port of its own")
    for name in ("SFVOPI_WORKER_ID", "SFVOPI_GATEWAY_ID"):
        if is_given(name, given):
            say(f"{name} is not used: processes that may run beside their successors are named and numbered here")
    housekeeping = HousekeepingSettings.read()
    ports = {
        "--port": port,
        "SFVOPI_GATEWAY_INTERNAL_PORT": settings.internal_port,
        "SFVOPI_HOUSEKEEPING_PORT": housekeeping.port,
    }
    for name, taken in ports.items():
        if not is_free(taken):
            raise CliFault(f"port {taken} is taken: is a fleet up already? Else choose another with {name}", BAD_USAGE)
    token = settings.api_token.get_secret_value()
    return LocalFleet(
        workers=workers,
        gateways=gateways,
        host=settings.host,
        port=port,
        internal_host=settings.internal_host,
        internal_port=settings.internal_port,
        housekeeping_port=housekeeping.port,
        public_wss_url=wss_url,
        redis_url=settings.redis_url.get_secret_value() if is_given("REDIS_URL", given) else "",
        webhook_secret=settings.webhook_keys[0],
        api_token=token,
        keep_settings=True,
        run_dir=logs,
        ready_within_s=120,
        on_progress=lambda process, what: say(f"  {process:<14}{what}", style="dim"),
    )


async def _run(fleet: LocalFleet, wishes: Wishes, tunnel: Tunnel | None, level: int) -> None:
    RunFile(os.getpid(), fleet.api_url, fleet.api_token, fleet.answer_url).write()
    try:
        _tell_urls(fleet, tunnel)
        telling = asyncio.create_task(tell_logs(fleet, show, level), name="logs")
        keeping = [asyncio.create_task(keep_up(fleet, name, say), name=f"keep {name}") for name in fleet.names]
        restarting = asyncio.create_task(restart_when_asked(fleet, wishes, say), name="restart")
        await _first(wishes.drain.wait(), *keeping)
        for task in (*keeping, restarting):
            task.cancel()
        await _drain(fleet, wishes)
        telling.cancel()
        if not wishes.drain.is_set():
            raise typer.Exit(FAILED)
    finally:
        RunFile.remove()


async def _drain(fleet: LocalFleet, wishes: Wishes) -> None:
    say("draining: no new calls, live calls finish; once more Ctrl-C ends them")
    limit_s = float(given_settings().get("SFVOPI_DRAIN_DEADLINE_S") or 3600) + 30
    drained = await _unless(fleet.drain(limit_s), wishes.end_now)
    if not drained:
        say("ending now")
        await fleet.end_now()
    say("down")


def _tell_urls(fleet: LocalFleet, tunnel: Tunnel | None) -> None:
    host = fleet.public_wss_url.removeprefix("ws").removeprefix("s").removeprefix("://").partition("/")[0]
    is_local = is_loopback(host.rpartition(":")[0] or host)
    public = fleet.urls if is_local else WebhookUrls.at(f"https://{host}", fleet.webhook_secret)
    show("\nup. Paste these into SFVoPI:" if not is_local else "\nup.", style="bold")
    show(f"  answer URL    {public.answer}")
    show(f"  fallback URL  {public.fallback}")
    show(f"  hangup URL    {public.hangup}")
    if tunnel:
        show(f"  (through {tunnel.kind.name}; the address is another one with every start, unless yours is reserved)")
    if is_local:
        show("Only this machine reaches these: try  sfvopi call --say 'When do you open?'")
        show("For real calls: sfvopi up --tunnel, or --public-url wss://your-host/ws with TLS in front")
    show(f"logs: {fleet.folder}; calls: sfvopi calls; Ctrl-C drains\n", style="dim")


def _log_folder() -> Path:
    folder = (HOME / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CliFault(f"cannot write logs to {folder}: {error.strerror}; run it in a folder of yours") from None
    return folder


def _kept_secret() -> str:
    """The webhook secret of this folder, made once: a registered URL is good for the next start, too."""
    path = HOME / SECRET_FILE
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        secret = secrets.token_urlsafe(16)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret)
        return secret


async def _unless_stopped(work: Awaitable[None], wishes: Wishes) -> bool:
    return await _unless(work, wishes.drain)


async def _unless(work: Awaitable[object], stop: asyncio.Event) -> bool:
    """Do the work, unless the event comes first: then it is given up, and the answer is False."""
    doing = asyncio.ensure_future(work)
    await _first(doing, stop.wait())
    if not doing.done():
        doing.cancel()
        await asyncio.wait([doing])
        return False
    doing.result()
    return True


async def _first(*works: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(work) for work in works]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task, work in zip(tasks, works, strict=True):
        if task is not work and not task.done():
            task.cancel()
