"""How a session ends: for exactly one reason, the first; and what that reason asks of the session. Pure.

Everything that limits a call is judged here, over one view of it; the session looks a few times a second.
"""

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from shared.calls.outcome import Reason
from shared.sfvopi.closing import CloseCode
from worker.provider_health import Failure
from worker.speaker import PATIENCE_S


class Manner(StrEnum):
    """What is done with the bot and the caller."""

    NOTHING = "nothing"  # the bot has ended; the caller has heard it
    HANG_UP = "hang_up"  # the caller is gone: tell the bot, then cancel
    GOODBYE = "goodbye"  # what the bot has begun to say is said
    APOLOGY = "apology"  # cancel, and tell the caller that we are sorry
    FORCE = "force"  # the pipeline does not listen to anything milder
    CUT = "cut"  # cancel
    HAND_OVER = "hand_over"  # the call goes on elsewhere


MANNERS: dict[Reason, Manner] = {
    Reason.BOT_ENDED: Manner.NOTHING,
    Reason.CALLER_HUNG_UP: Manner.HANG_UP,
    Reason.OPERATOR: Manner.HANG_UP,  # ended for both sides; the caller hears our close
    Reason.STREAM_CLOSED: Manner.HANG_UP,
    Reason.NO_START: Manner.HANG_UP,
    Reason.IDLE: Manner.GOODBYE,
    Reason.MAX_DURATION: Manner.GOODBYE,
    Reason.BOT_ERROR: Manner.APOLOGY,
    Reason.PROVIDER_ERROR: Manner.APOLOGY,
    Reason.STUCK: Manner.FORCE,
    Reason.SHUTDOWN: Manner.CUT,
}
CLOSE_CODES: dict[Reason, CloseCode] = {
    Reason.NO_START: CloseCode.POLICY,
    Reason.SHUTDOWN: CloseCode.GOING_AWAY,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """Why, and one line for people."""

    reason: Reason
    detail: str = ""
    is_handover: bool = False  # the session ends, the call does not

    @property
    def manner(self) -> Manner:
        return Manner.HAND_OVER if self.is_handover else MANNERS[self.reason]

    @property
    def close_code(self) -> CloseCode:
        return CloseCode.RESTART if self.is_handover else CLOSE_CODES.get(self.reason, CloseCode.NORMAL)


class FirstEnding:
    """The first ending that is given; later ones change nothing."""

    def __init__(self) -> None:
        self.given: Ending | None = None
        self._event = asyncio.Event()

    def give(self, ending: Ending) -> bool:
        """Whether this was the first."""
        if self.given is not None:
            return False
        self.given = ending
        self._event.set()
        return True

    async def wait(self) -> Ending:
        await self._event.wait()
        assert self.given is not None
        return self.given


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call may last, in seconds."""

    window_s: float
    idle_s: float
    max_s: float
    end_grace_s: float


@dataclass(frozen=True, slots=True)
class View:
    """A session at one moment; times are seconds of one clock."""

    now: float
    began_at: float
    has_started: bool  # `start` has come, at least once
    detached_at: float | None
    attached_at: float  # when the present stream, or the last one, had its `start`
    last_activity_at: float  # somebody spoke, pressed a key, was understood
    quiet_at: float  # when the caller has heard all that was said so far
    end_seen_at: float | None  # the bot asked its pipeline to end
    is_at_work: bool  # a handler or a tool of the bot's runs
    given_up: Failure | None  # the caller waits for a provider that does not answer


def given_up(failure: Failure) -> Ending:
    """The ending of a call whose caller waits in vain for this provider."""
    return Ending(Reason.PROVIDER_ERROR, f"{failure.service} by {failure.provider}: {failure.fault}")


def overdue(view: View, limits: Limits) -> Ending | None:
    """The ending that is due, if one is."""
    if view.detached_at is not None and view.now - view.detached_at >= limits.window_s:
        return Ending(Reason.STREAM_CLOSED if view.has_started else Reason.NO_START, "the stream did not come back")
    if view.now - view.began_at >= limits.max_s:
        return Ending(Reason.MAX_DURATION)
    if not view.has_started:
        return None
    if view.detached_at is not None:
        return None  # what the bot says waits for the stream; so does this
    if view.end_seen_at is not None:
        # a goodbye takes as long as it takes; the grace begins when it has been heard
        silent_since = max(view.end_seen_at, view.attached_at, view.quiet_at + PATIENCE_S)
        if view.now - silent_since <= limits.end_grace_s:
            return None
        if view.is_at_work:  # its pipeline waits for it, the caller need not
            return Ending(Reason.BOT_ENDED)
        return Ending(Reason.STUCK, "the pipeline did not pass an EndFrame on")
    if view.given_up is not None:
        return given_up(view.given_up)
    if view.now - max(view.last_activity_at, view.attached_at, view.quiet_at) >= limits.idle_s:
        return Ending(Reason.IDLE)
    return None
