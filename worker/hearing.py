"""What the caller has really heard of the bot: a sentence that was begun is unheard until the carrier has played it.

The carrier is asked with a checkpoint behind each sentence. It may never answer: then our own estimate of its playing
counts, with some patience.
"""

import time
from collections.abc import Awaitable, Callable

PREFIX = "sfvopi:heard:"  # of these checkpoints' names; the bot does not see them
PATIENCE_S = 2.0


class Hearing:
    """The sentences of one session that are on their way to the caller."""

    def __init__(self, ask: Callable[[str], Awaitable[bool]], quiet_at: Callable[[], float]) -> None:
        self._ask = ask
        self._quiet_at = quiet_at
        self._saying: list[str] = []  # begun, and its end not yet sent
        self._asked: dict[str, tuple[list[str], float]] = {}  # checkpoint → sentences before it, when it is overdue
        self._number = 0

    @property
    def unheard(self) -> list[str]:
        """Sentences that the caller has not, or not wholly, heard; oldest first."""
        now = time.monotonic()
        for name in [name for name, (_, overdue_at) in self._asked.items() if overdue_at < now]:
            del self._asked[name]
        return [*(sentence for sentences, _ in self._asked.values() for sentence in sentences), *self._saying]

    def begun(self, sentence: str) -> None:
        """The bot is about to say this."""
        self._saying.append(sentence)

    async def ended(self) -> None:
        """All that was begun has been sent: ask when it has been played."""
        if not self._saying:
            return
        self._number += 1
        name = f"{PREFIX}{self._number}"
        self._asked[name] = (self._saying, self._quiet_at() + PATIENCE_S)
        self._saying = []
        await self._ask(name)

    def played(self, name: str) -> bool:
        """The carrier has played all before this checkpoint. Whether it was one of ours."""
        if not name.startswith(PREFIX):
            return False
        if name in self._asked:
            for earlier in list(self._asked):
                del self._asked[earlier]
                if earlier == name:
                    break
        return True

    def interrupted(self) -> None:
        """The caller wants no more of it."""
        self._saying = []
        self._asked.clear()
