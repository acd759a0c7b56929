"""What Pipecat logs, without what somebody said."""

import re

# Pipecat puts what was said into brackets, and arguments and messages into braces, in warnings too; what it says
# of a frame names the key that was pressed. The second brace may be missing: it tells of JSON that is broken. What
# it says of errors ends in their text, which may quote a caller; what failed and where stands before.
_SAID = (
    (re.compile(r"\[.*\]", re.DOTALL), "[…]"),
    (re.compile(r"\{.*", re.DOTALL), "{…}"),
    (re.compile(r"tone: ."), "tone: …"),
    # the text of an exception, which begins at the first colon outside of parentheses
    (
        re.compile(r"(\b(?:exception|error|failed)\b(?:\([^()]*\)|:(?! )|[^:])*+: ).*", re.DOTALL | re.IGNORECASE),
        r"\1…",
    ),
)


# What is to be installed stands in brackets too (`pip install pipecat-ai[daily]`), and is what the line is for.
_EXTRA = re.compile(r"""(\b(?:pip3?\s+install|uv\s+(?:add|pip\s+install)|poetry\s+add)\s+["']?[\w.-]+)\[([\w.,-]+)\]""")
_KEPT = re.compile("\x01([^\x02]*)\x02")


def without_speech(line: str) -> str:
    """The line without what somebody said."""
    line = _EXTRA.sub("\\1\x01\\2\x02", line)  # no brackets meanwhile: those of speech around it take it along
    for said, mark in _SAID:
        line = said.sub(mark, line)
    return _KEPT.sub(r"[\1]", line)
