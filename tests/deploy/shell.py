"""Commands on this machine, and lines on standard error with the time since the start."""

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.process.progress import Progress

say = Progress()


class CommandFailed(Exception):
    """A command whose status was not 0, with the end of what it wrote."""


def run(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, within_s: float = 900
) -> str:
    """What the command writes to standard output. Raises `CommandFailed`."""
    try:
        done = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, timeout=within_s, check=False)
    except FileNotFoundError:
        raise CommandFailed(f"{argv[0]}: not installed") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{' '.join(argv)}: not done within {within_s:g} s") from None
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()[-15:]
        raise CommandFailed(f"{' '.join(argv)}: status {done.returncode}\n" + "\n".join(told))
    return done.stdout


async def run_beside(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, within_s: float = 900
) -> str:
    """The same, while calls go on."""
    return await asyncio.to_thread(run, argv, env=env, cwd=cwd, within_s=within_s)
