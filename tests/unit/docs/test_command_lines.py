"""Every command line in the documents can be typed: the command exists, with these options and arguments."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise

import pytest
import typer

from shared.cli.main import app
from tests.documents import DOCUMENTS, ROOT, blocks, inline_code

PROGRAMS = ("sfvopi", "make", "python", "pip", "docker", "cp", "uvicorn", "kubectl", "sh")


def command_lines() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each command line, where it stands, as words; without variables before it and comments behind it."""
    for block in blocks("sh"):
        for line in block.text.splitlines():
            if words := words_of(line):
                yield str(block), words
    for document in DOCUMENTS:
        for piece in inline_code(document):
            words = words_of(piece)
            if len(words) > 1 and words[0] in PROGRAMS:
                yield document.name, words


def words_of(line: str) -> tuple[str, ...]:
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return tuple(words)


LINES = list(dict.fromkeys(command_lines()))


@pytest.mark.parametrize(("where", "words"), LINES, ids=[f"{where} {' '.join(words)}" for where, words in LINES])
def test_a_command_line_can_be_typed(where: str, words: tuple[str, ...]) -> None:
    program, *arguments = words
    match program.rpartition("/")[2]:
        case "sfvopi":
            parse(typer.main.get_command(app), arguments)
        case "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {word for word in arguments if "=" not in word} <= set(targets)
        case "python":
            assert arguments[0] == "-m"
            assert importlib.util.find_spec(arguments[1])
            if arguments[1] == "shared.cli.call":
                parse(typer.main.get_command(app), ["call", *arguments[2:]])
        case "pip":
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            wanted = re.search(r"\[([\w,]+)\]", arguments[-1])
            assert wanted
            assert set(wanted[1].split(",")) <= set(extras)
        case "kubectl":
            assert all((ROOT / folder).is_dir() for option, folder in pairwise(arguments) if option == "-k")
        case other:
            assert other in PROGRAMS


def parse(command: typer.core.TyperGroup, arguments: list[str]) -> None:
    """Read the arguments as the command would, and do nothing. Raises what bad usage raises."""
    name, context = "sfvopi", None
    while (inner := getattr(command, "commands", None)) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        assert name in inner, f"there is no command {name}"
        context = command.make_context("sfvopi", [name], resilient_parsing=True)
        command = inner[name]
    if "--help" not in arguments:
        command.make_context(name, list(arguments), parent=context)


@pytest.mark.parametrize(
    "line",
    [
        "sfvopi nonsense",
        "sfvopi up --nope",
        "sfvopi calls shew CALL",
        "sfvopi calls show",
        "sfvopi doctor --symptom hiccups",
    ],
)
def test_a_wrong_line_would_be_found(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no command|no such option|missing|hiccups"):
        parse(typer.main.get_command(app), line.split()[1:])
