"""Piper, which is GPL-3, as a process of its own: started on demand, one per worker process, ended with it.

It is spoken to over HTTP on loopback and never imported. SFVOPI_PIPER_URL names one that runs already; workers of
one machine share a voice that way: `python -m worker.pipeline.offline.piper_server [voice.onnx]` runs one as long as
its standard input is open, and prints its address as a line of JSON.
"""

import asyncio
import atexit
import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from shared.settings import SettingsError
from worker.pipeline.offline import keeper
from worker.pipeline.offline.models import piper_voice

START_DEADLINE_S = 30.0
_POLL_S = 0.1


@dataclass
class PiperServer:
    """A running piper. Its last words on standard error are kept, to be able to say why it died."""

    url: str
    process: subprocess.Popen[bytes]
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(keeper.GRACE_S + 1)
        except subprocess.TimeoutExpired:
            self.process.kill()


class _Running:
    """The piper of this process, if it has one, by voice."""

    servers: dict[Path, PiperServer] = {}  # noqa: RUF012
    starting = threading.Lock()


async def piper_url(voice: Path | None) -> str:
    """The address of this process' piper, which is started if none runs. Raises `SettingsError`, `ImportError`."""
    server = _Running.servers.get(voice or Path())
    if server is None or not server.is_running:
        server = await asyncio.to_thread(_start_once, voice)
    await _answers(server)
    return server.url


def stop_piper() -> None:
    """End every piper of this process. Also done at exit, and by the pipe when this process is killed."""
    while _Running.servers:
        _Running.servers.popitem()[1].stop()


def _start_once(voice: Path | None) -> PiperServer:
    with _Running.starting:
        server = _Running.servers.get(voice or Path())
        if server is None or not server.is_running:
            server = _start(voice or piper_voice())
            _Running.servers[voice or Path()] = server
            atexit.register(stop_piper)
    return server


def _start(model: Path) -> PiperServer:
    port = _free_port()
    piper = ["-m", "piper.http_server", "--host", "127.0.0.1", "--port", str(port)]
    voice = ["--model", str(model), "--data-dir", str(model.parent)]
    process = subprocess.Popen(
        [sys.executable, keeper.__file__, sys.executable, *piper, *voice],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C drains the worker; piper must speak until the last call is over
    )
    server = PiperServer(f"http://127.0.0.1:{port}", process)
    assert process.stderr
    threading.Thread(target=_listen, args=(process.stderr, server.last_words), name="piper-log", daemon=True).start()
    return server


def _listen(stream: IO[bytes], lines: deque[str]) -> None:
    with stream:
        for line in stream:
            lines.append(line.decode(errors="replace").rstrip())


async def _answers(server: PiperServer) -> None:
    deadline = asyncio.get_running_loop().time() + START_DEADLINE_S
    host, port = server.url.removeprefix("http://").split(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            if not server.is_running:
                raise SettingsError(_why_it_died(server)) from None
            if asyncio.get_running_loop().time() > deadline:
                raise SettingsError(f"piper does not answer at {server.url} after {START_DEADLINE_S:g} s") from None
            await asyncio.sleep(_POLL_S)
        else:
            writer.close()
            return


def _why_it_died(server: PiperServer) -> str:
    last = server.last_words[-1] if server.last_words else "no reason given"
    if "No module named" in last:
        return f"piper is not installed ({last}): pip install 'sfvopi-fleet[offline]'"
    return f"piper ended at its start: {last}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main(arguments: list[str]) -> None:
    """Run a piper for others until standard input ends."""
    try:
        url = asyncio.run(piper_url(Path(arguments[0]) if arguments else None))
    except (SettingsError, ImportError) as error:
        sys.exit(str(error))
    print(json.dumps({"url": url}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()
    stop_piper()


if __name__ == "__main__":
    main(sys.argv[1:])
