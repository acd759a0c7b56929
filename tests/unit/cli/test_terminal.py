"""What somebody else wrote is shown as it is: no markup, no codes for the terminal, no line that looks like ours."""

import json

import pytest

from shared.carrier.report import CallReport
from shared.carrier.telling import tabulate
from shared.cli.terminal import err, one_line, out, say, show, show_json, show_table

EVIL = {
    "markup that closes nothing": ("[/b]", "[/b]"),
    "an extra to install": ("pip install 'sfvopi-fleet[offline]'", "pip install 'sfvopi-fleet[offline]'"),
    "a style": ("[red]stop[/red]", "[red]stop[/red]"),
    "a link": ("[link=http://evil]here[/link]", "[link=http://evil]here[/link]"),
    "an emoji code": (":smile:", ":smile:"),
    "a backslash": (r"\[b]", r"\[b]"),
    "a title": ("\x1b]0;PWNED\x07", r"\x1b]0;PWNED\x07"),
    "a cleared screen": ("\x1b[2J", r"\x1b[2J"),
    "C1": ("\x9b31m", r"\x9b31m"),
    "NUL and DEL": ("\x00\x7f", r"\x00\x7f"),
    "a carriage return": ("fine\rok", r"fine\rok"),
    "another direction": ("\u202etxt.exe", r"\u202etxt.exe"),
    "half a character": ("\ud83d", r"\ud83d"),
    "Hindi": ("नमस्ते", "नमस्ते"),
}
WAYS = {
    "say": lambda text: say(text),
    "show": lambda text: show(text, "bold"),
    "a table": lambda text: show_table(["name"], [[text]]),
    "the title of a table": lambda text: show_table(["a column that is wide enough for it"], [], text),
    "a console": lambda text: out().print(text),
    "the other console": lambda text: err().print(text, style="red"),
    "a call's figures": lambda text: out().print(tabulate(CallReport(call_uuid=text, errors=[text]))),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("text", "shown"), EVIL.values(), ids=EVIL)
def test_a_text_is_shown_as_it_is_and_its_control_characters_as_escapes(capsys, way, text, shown):
    way(text)
    printed = "".join(capsys.readouterr())
    dropped = shown.replace(r"\x07", "").replace(r"\r", "")  # by rich, where we did not write the text
    assert shown in printed or dropped in printed
    assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 for c in printed)


@pytest.mark.parametrize("text", [text for text, _ in EVIL.values()], ids=EVIL)
def test_json_has_them_as_escapes_and_is_the_same_value(capsys, text):
    show_json({"name": text})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"name": text}
    assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c == "\u202e" for c in printed)


def test_a_colour_of_ours_still_reaches_a_terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    console = out()
    with console.capture() as captured:
        console.print("red", style="red")
    assert captured.get().startswith("\x1b[31mred")


def test_what_must_be_one_line_is():
    assert one_line("stream x\r\n  12:00 ended: completed") == r"stream x\r\n  12:00 ended: completed"
