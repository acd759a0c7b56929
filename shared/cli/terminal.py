"""Where text goes: results to standard output, everything else to standard error, colours to terminals only.

Much of it was written by others: a server's messages, a carrier's ids, a bot's errors. So the one console here reads
no markup in any text, and no control character of a text reaches the terminal or the JSON but as an escape.

rich looks at the terminal and at NO_COLOR by itself; consoles are made when used, so that tests and
redirections see the stream of the moment.
"""

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

# C0 (but for tab and new line), DEL, C1, what turns the direction of writing, line separators, halves of characters
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ENDS_A_LINE = re.compile(r"[\r\n]+")


class LiteralConsole(Console):
    """A console that shows every text as it is: no markup, no emoji codes, no colours of its own, no control codes."""

    def __init__(self, **given: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **given)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does, with the control characters of texts as escapes, but for those that it drops itself (BEL, CR).

        What rich writes to move the cursor comes as segments of their own (`control`).
        """
        for segment in super().render(renderable, options):
            is_plain = segment.control or _CONTROLS.search(segment.text) is None
            yield segment if is_plain else Segment(printable(segment.text), segment.style)


def out() -> Console:
    """Standard output: what the command was asked for."""
    return LiteralConsole(soft_wrap=True)


def err() -> Console:
    """Standard error: progress, hints, errors."""
    return LiteralConsole(stderr=True, soft_wrap=True)


def printable(text: str) -> str:
    """The text with control characters as escapes (`\\x1b`); tabs and new lines stay."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """The text on one line, so that what somebody else wrote cannot look like a line of ours."""
    return _ENDS_A_LINE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), printable(text))


def say(text: str, style: str = "") -> None:
    """Text on standard error, taken literally."""
    err().print(Text(printable(text), style=style))


def show(text: str = "", style: str = "") -> None:
    """Text on standard output, taken literally."""
    out().print(Text(printable(text), style=style))


def show_json(value: Any) -> None:
    """One JSON value on one line of standard output."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    sys.stdout.write(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")
    sys.stdout.flush()


def show_table(columns: list[str], rows: list[list[str]], title: str = "") -> None:
    """A plain table that survives a narrow terminal and a pipe."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    console = LiteralConsole()
    console.print(table) if console.is_terminal else LiteralConsole(width=160).print(table)
