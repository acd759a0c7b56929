"""Is a speech or language provider down? Errors and signs of life in, a verdict out. Pure; time is a parameter.

One error is not an outage: services reconnect, and a switch to a second provider heals. Down is a provider that
says so for good, one that fails again and again, or one whose answer the caller waits for in vain.
"""

from dataclasses import dataclass
from enum import StrEnum

PATIENCE_S = 4.0  # for an answer after an error of the language model or the voice
FAILURES = 3  # in a row
STT_FAILURES = 5  # in a row: recognition reconnects often, and nobody waits for it in silence


class Service(StrEnum):
    """What a provider does for a bot."""

    STT = "stt"
    LLM = "llm"
    TTS = "tts"


@dataclass(frozen=True, slots=True)
class Failure:
    """One error of a provider. `replaced`: another provider stands by and takes over."""

    provider: str
    fault: str
    service: Service
    is_permanent: bool = False
    replaced: bool = False


class Providers:
    """The providers of one call."""

    def __init__(self) -> None:
        self._failures: dict[Service, list[tuple[float, Failure]]] = {}

    def failed(self, failure: Failure, now: float) -> None:
        self._failures.setdefault(failure.service, []).append((now, failure))

    def lives(self, service: Service) -> None:
        """It has given a result: what was before is forgotten."""
        if self._failures:
            self._failures.pop(service, None)

    def down(self, now: float) -> Failure | None:
        """The failure that makes the call hopeless, or None."""
        for service, failures in self._failures.items():
            if all(failure.replaced for _, failure in failures):
                continue
            first_at, last = failures[0][0], failures[-1][1]
            if any(failure.is_permanent and not failure.replaced for _, failure in failures):
                return last
            if len(failures) >= (STT_FAILURES if service is Service.STT else FAILURES):
                return last
            if service is not Service.STT and now - first_at > PATIENCE_S:
                return last
        return None
