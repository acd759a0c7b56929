"""A model that follows a file of rules: what it answers to which words, which tool it calls. Knows nothing of Pipecat.

    [[rule]]
    says = "table for (?P<people>\\w+)"         # the caller's last words: a regular expression, in any case
    tool = "book_table"
    arguments = { people = "{people}" }

    [[rule]]
    after = "book_table"                        # the result of this tool; its fields can be quoted
    answer = "Your table number is {table}."

    [[rule]]
    told = "ask for the name"                   # the last instruction, where a bot gives one in mid-conversation
    answer = "What is your name, please?"

    [[rule]]
    prompt = "You are support"                  # in what the bot told the model at any time; beside the others
    says = "refund"
    answer = "You get your money back."

    [[rule]]
    answer = "Could you say that again?"        # in every other case

The first rule that fits is followed. One that calls a tool fits only while the bot offers that tool.
"""

import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_TOLD_BY = ("system", "developer")
_FIELDS = {"says", "after", "told", "prompt", "answer", "tool", "arguments"}


class RulesError(Exception):
    """A file of rules that cannot be used; the message says which rule, and why."""


@dataclass(frozen=True)
class Turn:
    """What a model is asked now: one of `says`, `told` and `after` is set, and none at the very beginning."""

    says: str = ""  # the caller
    told: str = ""  # by an instruction
    after: str = ""  # the tool whose result came
    result: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""  # all instructions so far


@dataclass(frozen=True)
class Action:
    """What the model does: say this, or call that."""

    answer: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """One of the file. Of `says`, `told` and `after` at most one is set."""

    says: re.Pattern[str] | None = None
    told: re.Pattern[str] | None = None
    after: str = ""
    prompt: re.Pattern[str] | None = None
    action: Action = field(default_factory=Action)

    def fits(self, turn: Turn, tools: Collection[str]) -> Mapping[str, Any] | None:
        """What can be quoted in its answer, if it fits."""
        if self.action.tool and self.action.tool not in tools:
            return None
        if self.prompt is not None and not self.prompt.search(turn.prompt):
            return None
        if self.after:
            return {**turn.result} if self.after == turn.after else None
        for pattern, text in ((self.says, turn.says), (self.told, turn.told)):
            if pattern is not None:
                found = pattern.search(text) if text else None
                return None if found is None else found.groupdict("")
        # without a condition: a tool that is called in every case would be called for ever
        return None if self.action.tool and turn.after else {**turn.result}


class Rules:
    """The rules of a file, in their order."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules

    @classmethod
    def parse(cls, text: str) -> "Rules":
        """From TOML. Raises `RulesError`."""
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RulesError(f"not TOML: {error}") from None
        given = document.get("rule")
        if not isinstance(given, list) or not given or set(document) != {"rule"}:
            raise RulesError("a file of rules consists of [[rule]] tables")
        return cls([_rule(number, fields) for number, fields in enumerate(given, 1)])

    @property
    def tools(self) -> set[str]:
        """All tools that some rule calls."""
        return {rule.action.tool for rule in self._rules if rule.action.tool}

    def act(self, turn: Turn, tools: Collection[str]) -> Action | None:
        """What the first rule that fits says; None if none does."""
        for rule in self._rules:
            quoted = rule.fits(turn, tools)
            if quoted is not None:
                return _filled(rule.action, quoted)
        return None


def _rule(number: int, fields: Any) -> Rule:
    where = f"rule {number}"
    if not isinstance(fields, dict):
        raise RulesError(f"{where} is no table")
    if unknown := sorted(set(fields) - _FIELDS):
        raise RulesError(f"{where} has {unknown[0]!r}; known are {', '.join(sorted(_FIELDS))}")
    if sum(name in fields for name in ("says", "told", "after")) > 1:
        raise RulesError(f"{where} has more than one of says, told, after")
    if ("answer" in fields) == ("tool" in fields):
        raise RulesError(f"{where} needs an answer or a tool, and not both")
    arguments = fields.get("arguments", {})
    if not isinstance(arguments, dict) or (arguments and "tool" not in fields):
        raise RulesError(f"{where}: arguments are a table, and belong to a tool")
    for name in ("says", "told", "after", "prompt", "answer", "tool"):
        if not isinstance(fields.get(name, ""), str):
            raise RulesError(f"{where}: {name} is a text")
    action = Action(fields.get("answer", ""), fields.get("tool", ""), arguments)
    says, told, prompt = (_pattern(where, fields, name) for name in ("says", "told", "prompt"))
    return Rule(says, told, fields.get("after", ""), prompt, action)


def _pattern(where: str, fields: Mapping[str, str], name: str) -> re.Pattern[str] | None:
    if name not in fields:
        return None
    try:
        return re.compile(fields[name], re.IGNORECASE)
    except re.error as error:
        raise RulesError(f"{where}: {name} is no regular expression: {error}") from None


def _filled(action: Action, quoted: Mapping[str, Any]) -> Action:
    return Action(
        _fill(action.answer, quoted),
        action.tool,
        {name: _fill(value, quoted) if isinstance(value, str) else value for name, value in action.arguments.items()},
    )


def _fill(text: str, quoted: Mapping[str, Any]) -> str:
    """`{name}` becomes what was quoted under that name, or nothing."""
    return re.sub(r"\{(\w+)\}", lambda found: str(quoted.get(found[1], "")), text)


def turn_of(messages: Sequence[Any], instruction: str = "") -> Turn:
    """What the last of these messages, in OpenAI's shape, asks for. `instruction` stands before them all."""
    said: list[dict[str, Any]] = [message for message in messages if isinstance(message, dict)]
    prompt = " ".join([instruction, *(text_of(message) for message in said if message.get("role") in _TOLD_BY)])
    last = said[-1] if said else {}
    match last.get("role"):
        case "user":
            return Turn(says=text_of(last), prompt=prompt)
        case role if role in _TOLD_BY:
            return Turn(told=text_of(last), prompt=prompt)
        case "tool":
            after = _called(said, last.get("tool_call_id"))
            return Turn(after=after, result=_result(text_of(last)), prompt=prompt)
    return Turn(prompt=prompt)


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, whichever of the two shapes it has."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def _called(messages: Sequence[Mapping[str, Any]], call_id: Any) -> str:
    calls = [call for message in messages for call in message.get("tool_calls") or []]
    return next((str(call["function"]["name"]) for call in reversed(calls) if call.get("id") == call_id), "")


def _result(text: str) -> Mapping[str, Any]:
    try:
        result = json.loads(text)
    except ValueError:
        result = text
    return {"result": result, **(result if isinstance(result, dict) else {})}
