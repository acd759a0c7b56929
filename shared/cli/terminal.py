"""Where text goes: results to standard output, everything else to standard error, colours to terminals only.

rich looks at the terminal and at NO_COLOR by itself; consoles are made when used, so that tests and
redirections see the stream of the moment.
"""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def out() -> Console:
    """Standard output: what the command was asked for."""
    return Console(highlight=False, soft_wrap=True)


def err() -> Console:
    """Standard error: progress, hints, errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """One line on standard error, taken literally."""
    err().print(Text(text, style=style))


def show(text: str = "", style: str = "") -> None:
    """One line on standard output, taken literally."""
    out().print(Text(text, style=style))


def show_json(value: Any) -> None:
    """One JSON value on one line of standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def show_table(columns: list[str], rows: list[list[str]], title: str = "") -> None:
    """A plain table that survives a narrow terminal and a pipe."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    console.print(table) if console.is_terminal else Console(highlight=False, width=160).print(table)
