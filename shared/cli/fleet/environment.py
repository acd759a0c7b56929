"""What the children of a local fleet find in their environment, and what was given to us."""

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from shared.settings.fleet import known_names, read_env_file

ROOT = Path(__file__).resolve().parents[3]  # what holds gateway, worker and shared


def given_settings() -> dict[str, str]:
    """Variables of the environment and of `./.env`, the environment first. Raises `SettingsError`."""
    written = {name: value for name, value in dotenv_values(stream=StringIO(read_env_file())).items() if value}
    return {**written, **os.environ}


def is_given(name: str, settings: Mapping[str, str]) -> bool:
    """Whether a setting was given, as itself or as a file."""
    return bool(settings.get(name) or settings.get(f"{name}_FILE"))


def child_environment(with_settings: bool) -> dict[str, str]:
    """Our environment for a child; without settings it is the same everywhere, whatever is set here."""
    known = known_names()
    env = {
        name: value
        for name, value in os.environ.items()
        if with_settings or not (name in known or name.startswith("SFVOPI_"))
    }
    path = [str(ROOT), str(Path.cwd()), *filter(None, [env.get("PYTHONPATH", "")])]
    return {**env, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)), "PYTHONUNBUFFERED": "1"}
