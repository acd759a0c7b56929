"""The project's own documents, as tests read them: their files, their code blocks, their tables, their inline code."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code, and the line of its document at which it begins."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """All blocks in these languages, of all documents."""
    return [block for document in DOCUMENTS for block in blocks_of(document) if block.language in languages]


def blocks_of(document: Path) -> list[Block]:
    """All blocks of one document."""
    text = document.read_text()
    return [
        Block(document, text.count("\n", 0, found.start()) + 1, found[1], found[2]) for found in _BLOCK.finditer(text)
    ]


def python_block(document: str, holding: str) -> str:
    """The one Python block of docs/<document> that holds this text."""
    (block,) = [b for b in blocks_of(ROOT / "docs" / document) if b.language == "python" and holding in b.text]
    return block.text


def prose(document: Path) -> str:
    """A document without its blocks."""
    return _BLOCK.sub("", document.read_text())


def inline_code(document: Path) -> list[str]:
    """Every `piece` of a document, in order."""
    return re.findall(r"`([^`\n]+)`", prose(document))


def table(document: str, heading: str, number: int = 0) -> list[list[str]]:
    """The rows of a table (0: the first) under this heading of docs/<document>, without its head; backticks stay."""
    under = (ROOT / "docs" / document).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"(?:^\|.*\n)+", under, re.MULTILINE)[number].splitlines()
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]
