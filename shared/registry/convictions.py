"""Convicted calls and quarantined bots, in memory: what convict.lua and release_bot.lua do, said in Python. Pure."""

from dataclasses import replace

from shared.fleet.quarantine import CALLS_NEEDED, MOST_BUILDS, MOST_CALLS, WITHIN_MS, Quarantine


class Convictions:
    """Which calls of which bot were convicted lately, and which bots are quarantined."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str, str], int] = {}  # (bot, build, call_id) → when
        self.quarantines: dict[str, Quarantine] = {}

    def convict(self, call_id: str, bot: str, build: str, now_ms: int) -> Quarantine | None:
        """The quarantine that holds for this build of the bot, now that this call is convicted, too."""
        self._calls = {of: at_ms for of, at_ms in self._calls.items() if at_ms > now_ms - WITHIN_MS}
        self._calls.setdefault((bot, build, call_id), now_ms)
        calls = sorted((at_ms, of[2].encode(), of[2]) for of, at_ms in self._calls.items() if of[:2] == (bot, build))
        before = self.quarantines.get(bot) or Quarantine(bot, now_ms)
        is_barred = build in before.builds
        if not is_barred and len(calls) < CALLS_NEEDED:
            return None
        builds = before.builds if is_barred else (*before.builds, build)
        told = [call_id] if is_barred else [call for *_, call in calls]
        all_calls = (*before.calls, *(call for call in told if call not in before.calls))
        self.quarantines[bot] = replace(before, builds=builds[-MOST_BUILDS:], calls=all_calls[-MOST_CALLS:])
        return self.quarantines[bot]

    def release(self, bot: str) -> bool:
        """Whether it was quarantined. What it is convicted of is forgotten."""
        self._calls = {of: at_ms for of, at_ms in self._calls.items() if of[0] != bot}
        return self.quarantines.pop(bot, None) is not None
