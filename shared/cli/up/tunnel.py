"""A public address for a local port, by a tunnel program that is installed here: ngrok or cloudflared.

Both are asked for no account of ours; what they print is read until the address stands in it.
"""

import asyncio
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from shared.cli.faults import BAD_USAGE, CliFault
from shared.cli.fleet.child import Child

OPEN_WITHIN_S = 30.0
LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Kind:
    """A tunnel program: its command line (`{port}` is ours) and what its address looks like in its output."""

    name: str
    argv: tuple[str, ...]
    address: re.Pattern[str]


KINDS = (
    Kind(
        "ngrok",
        ("http", "http://127.0.0.1:{port}", "--log", "stdout", "--log-format", "json"),
        re.compile(r'"url":\s*"(https://[^"]+)"'),
    ),
    Kind(
        "cloudflared",
        ("tunnel", "--no-autoupdate", "--url", "http://127.0.0.1:{port}"),
        re.compile(r"(https://[a-z0-9-]+\.trycloudflare\.com)"),
    ),
)
NONE_INSTALLED = (
    "no tunnel program is installed: install ngrok (https://ngrok.com/download, then `ngrok config add-authtoken …`) "
    "or cloudflared (https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/downloads/); or "
    "run your own TLS front and give its address: --public-url wss://host/ws"
)


class Tunnel:
    """An open tunnel: `https_url` is what the world sees of the port."""

    def __init__(self, kind: Kind, port: int, folder: Path) -> None:
        self.kind = kind
        argv = [shutil.which(kind.name) or kind.name, *(part.format(port=port) for part in kind.argv)]
        self.child = Child(kind.name, argv, dict(os.environ), folder, folder / f"{kind.name}.log")
        self.https_url = ""

    @property
    def wss_url(self) -> str:
        return f"wss{self.https_url.removeprefix('https')}/ws"

    async def open(self, within_s: float = OPEN_WITHIN_S) -> None:
        """Start it and wait for its address. Raises `CliFault` with its last words."""
        self.child.log.unlink(missing_ok=True)
        await self.child.start()
        deadline = asyncio.get_running_loop().time() + within_s
        while not (found := self.kind.address.search(self._output())):
            if not self.child.is_running:
                raise CliFault(f"{self.kind.name} ended:\n{self._last_words()}")
            if asyncio.get_running_loop().time() > deadline:
                await self.close()
                raise CliFault(f"{self.kind.name} gave no address within {within_s:g} s:\n{self._last_words()}")
            await asyncio.sleep(LOOK_EVERY_S)
        self.https_url = found[1]

    async def close(self) -> None:
        await self.child.end(3)

    def _output(self) -> str:
        return self.child.log.read_text(errors="replace")

    def _last_words(self) -> str:
        return "\n".join(self._output().strip().splitlines()[-4:])


def find_tunnel(port: int, folder: Path) -> Tunnel:
    """The first program that is installed. Raises `CliFault` (bad usage) that says what to install."""
    for kind in KINDS:
        if shutil.which(kind.name):
            return Tunnel(kind, port, folder)
    raise CliFault(NONE_INSTALLED, BAD_USAGE)
