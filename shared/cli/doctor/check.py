"""What a check says."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """From good to bad."""

    OK = "ok"
    WARN = "warn"  # works, and will surprise
    FAIL = "fail"  # calls will not work


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, and what to do about it. Holds no secret."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Check:
    return Check(name, Verdict.OK, found)


def warn(name: str, found: str, remedy: str = "") -> Check:
    return Check(name, Verdict.WARN, found, remedy)


def fail(name: str, found: str, remedy: str = "") -> Check:
    return Check(name, Verdict.FAIL, found, remedy)


def worst(checks: Iterable[Check]) -> Verdict:
    """The worst verdict among them."""
    order = list(Verdict)
    return max((check.verdict for check in checks), key=order.index, default=Verdict.OK)
