"""How a command finds the fleet that it talks to: --api, SFVOPI_API_URL, what `sfvopi up` runs here, the default."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.api import FleetApi
from shared.settings.cli import CliSettings

DEFAULT_URL = "http://127.0.0.1:9000"
HOME = Path(".sfvopi")  # of a local fleet, in the current folder: run file, logs, recordings

ApiOption = Annotated[
    str,
    typer.Option(
        "--api",
        metavar="URL",
        help="The gateway's internal address. Default: SFVOPI_API_URL, the fleet that `sfvopi up` runs here, "
        f"or {DEFAULT_URL}. Its token is SFVOPI_API_TOKEN.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for machines, on standard output.")]


@dataclass(frozen=True, slots=True)
class RunFile:
    """What `sfvopi up` leaves for other commands in the same folder. Readable by its owner only: it has a token."""

    pid: int
    api_url: str
    api_token: str
    answer_url: str

    def write(self, home: Path = HOME) -> None:
        home.mkdir(parents=True, exist_ok=True)
        path = _path(home)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(self), file)

    @staticmethod
    def remove(home: Path = HOME) -> None:
        _path(home).unlink(missing_ok=True)

    @classmethod
    def read(cls, home: Path = HOME) -> "RunFile | None":
        """The run file of a fleet that is still up, or None."""
        try:
            found = cls(**json.loads(_path(home).read_text()))
            os.kill(found.pid, 0)
        except (OSError, ValueError, TypeError):
            return None
        return found


def reach(api: str = "") -> FleetApi:
    """A client of the fleet's API. Raises `SettingsError`."""
    settings = CliSettings.read()
    url, token = api or settings.api_url, settings.api_token.get_secret_value()
    local = None if url else RunFile.read()
    if local:
        return FleetApi(local.api_url, local.api_token)
    return FleetApi(url or DEFAULT_URL, token)


def _path(home: Path) -> Path:
    return home / "up.json"
