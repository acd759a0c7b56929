"""One setting in a file such as .env: its line is replaced, all others stay as they are."""

import os
import re
import shutil
from pathlib import Path

from shared.cli.faults import CliFault


def with_setting(text: str, name: str, value: str) -> str:
    """The text with this setting, once: in the place of the first line that sets it, or at the end."""
    line = f"{name}={value}"
    sets_it = re.compile(rf"[ \t]*(?:export[ \t]+)?{re.escape(name)}[ \t]*=")
    lines, is_set = [], False
    for given in text.removesuffix("\n").split("\n") if text else ():
        if not sets_it.match(given):
            lines.append(given)
        elif not is_set:
            lines.append(line)
            is_set = True
    return "\n".join(lines if is_set else [*lines, line]) + "\n"


def write_setting(path: Path, name: str, value: str) -> None:
    """Set it in the file, which is made if there is none. Raises `CliFault`."""
    try:
        before = path.read_text() if path.exists() else ""
        written = path.with_name(f"{path.name}.new")
        written.write_text(with_setting(before, name, value))
        if before:
            shutil.copymode(path, written)
        os.replace(written, path)  # at once: the file holds keys
    except (OSError, UnicodeDecodeError) as error:
        raise CliFault(f"cannot write {name}={value} to {path}: {error}") from None
