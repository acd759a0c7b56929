"""Is there a worker for this call, and what is the carrier told: the decision for answer and fallback webhooks.

Theory of operation. A slot is asked for first, atomically over the fleet; then the call is moved, atomically for
the call. Which of the two succeeded, and where the call was before, is all that `decide` looks at. A call that
has a slot already gets it again, so that a carrier which asks twice, through primary and fallback or at several
gateways, gets one call.

What becomes of a call that cannot be placed is its number's policy. By default it is refused on the primary, so that
the carrier asks the fallback; the call stays open (RINGING), since a slot may be free by then. The fallback never
refuses: its caller hears a busy message from a gateway, or is sent to another server, and the call ends for that
reason there and then; or he is held: he gets a place in line, and a stream to a gateway, which keeps it (`line.py`).
A quarantined bot's calls get the same; but nobody is held for one, since no slot will be his.
Whoever is new gets a slot only if there is one more than those who wait in line can use. While the registry is away,
calls are placed from this gateway's own share (`local_admission.py`) before the policy is asked.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from gateway.local_admission import LocalAdmission
from shared.calls.outcome import Reason
from shared.calls.record import HELD_DETAIL, NO_CAPACITY_DETAIL, CallRecord, own_number
from shared.calls.state import CallEvent, CallState
from shared.registry import Registry, RegistryAway
from shared.registry.endings import end_call
from shared.settings import CallLimits, GatewaySettings, NumberPlan, Numbers
from shared.settings.numbers import Overflow
from shared.sfvopi.answer import StreamAnswer
from shared.sfvopi.formats import AudioFormat
from shared.sfvopi.webhooks import AnswerWebhook, HangupWebhook, RingWebhook
from shared.telemetry.catalogue import CALLS
from shared.telemetry.meter import Meter
from shared.telemetry.traces import NO_SPAN, Span
from shared.tokens import StreamToken, sign_token

# as a token's worker: the stream is answered by whichever gateway it reaches, with the busy message, …
GATEWAY_ITSELF = ""
IN_LINE = "~line"  # … or, for a caller who waits in line, until a worker has a slot; no worker has this id
ANSWER_WITHIN_S = 0.8  # whatever the registry does: a carrier waits for the answer with a live caller on the line
BUSY_TOKEN_S = 120  # a busy message is heard at once or never
PLACE_S = 10  # a place in line waits so long for its stream, which comes within one or two


class Verdict(StrEnum):
    """What an answer webhook comes to. A metric label."""

    RESERVED = "reserved"
    PLACED_LOCALLY = "placed_locally"  # the registry is away; from this gateway's own share
    REPEATED = "repeated"  # it has its slot, or its stream, already
    HELD = "held"  # a place in line
    REFUSED = "refused"  # no capacity: the carrier shall ask the fallback
    BUSY_MESSAGE = "busy_message"
    REDIRECTED = "redirected"  # to another server
    ENDED = "ended"  # the call is over already
    REGISTRY_AWAY = "registry_away"

    @property
    def is_placed(self) -> bool:
        return self in (Verdict.RESERVED, Verdict.REPEATED, Verdict.PLACED_LOCALLY)


# how a call ends whose caller is told something else
TOLD = {Verdict.BUSY_MESSAGE: Reason.BUSY_MESSAGE, Verdict.REDIRECTED: Reason.REDIRECTED}


@dataclass(frozen=True, slots=True)
class Admitted:
    """What was decided; `answer` is None when the carrier is refused."""

    verdict: Verdict
    answer: StreamAnswer | None = None
    worker_id: str = ""
    is_barred: bool = False  # what it was told, it was told because its bot is quarantined


def decide(
    before: CallState,
    *,
    has_slot: bool,
    is_fallback: bool,
    overflow: Overflow = Overflow.REJECT,
    ended_as: str = "",
) -> Verdict:
    """The verdict, from where the call was before, whether the fleet had a slot for it, and the number's policy.

    `ended_as` is the reason for which a call has ended: who was told something then is told the same again.
    """
    match before, has_slot:
        case (CallState.ACTIVE | CallState.DETACHED, _):
            return Verdict.REPEATED
        case (CallState.RESERVED, True):
            return Verdict.REPEATED
        case (CallState.NONE | CallState.RINGING, True):
            return Verdict.RESERVED
        case (CallState.ENDED, _) if ended_as == Reason.REDIRECTED:
            return Verdict.REDIRECTED
        case (CallState.ENDED, _):
            return Verdict.BUSY_MESSAGE if is_fallback or ended_as == Reason.BUSY_MESSAGE else Verdict.ENDED
        case _:
            return without_room(overflow, is_fallback=is_fallback)


def without_room(overflow: Overflow, *, is_fallback: bool, has_line: bool = True) -> Verdict:
    """What becomes of a call that cannot be placed. Without a line (the registry keeps it), who is held hears busy."""
    if overflow is Overflow.REDIRECT:
        return Verdict.REDIRECTED
    if overflow is Overflow.HOLD:
        return Verdict.HELD if has_line else Verdict.BUSY_MESSAGE
    return Verdict.BUSY_MESSAGE if is_fallback or overflow is Overflow.BUSY else Verdict.REFUSED


def parties(webhook: AnswerWebhook | HangupWebhook | RingWebhook) -> dict[str, Any]:
    """What a webhook tells of who speaks with whom, as fields of the record; what it does not tell changes nothing."""
    told = {
        "direction": webhook.direction,
        "from_number": webhook.from_number,
        "to_number": webhook.to_number,
        "request_uuid": webhook.request_uuid,
    }
    return {name: value for name, value in told.items() if value}


class Admission:
    """The awaiting shell around `decide`. Raises nothing: an absent registry is a verdict, too."""

    def __init__(
        self,
        registry: Registry,
        settings: GatewaySettings,
        numbers: Numbers,
        meter: Meter,
        local: LocalAdmission,
        is_barred: Callable[[str], bool] = lambda bot: False,
    ) -> None:
        self._is_barred = is_barred  # a bot that is quarantined: nobody waits for it in line
        self._registry = registry
        self._local = local
        self._settings = settings
        self._numbers = numbers
        self._meter = meter

    async def admit(self, webhook: AnswerWebhook, *, is_fallback: bool, span: Span = NO_SPAN) -> Admitted:
        """Place the call, or say what else."""
        plan = self._numbers.plan_for(own_number(webhook))
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                admitted = await self._place(webhook, plan, is_fallback, span)
                return replace(admitted, is_barred=not admitted.verdict.is_placed and self._is_barred(plan.bot))
        except (RegistryAway, TimeoutError):
            if placed := self._place_locally(webhook, plan, span):
                return placed
            self._local.refuse(webhook.call_uuid)
            verdict = without_room(plan.overflow, is_fallback=is_fallback, has_line=False)
            told = self._told(verdict, webhook.call_uuid, plan)
            return Admitted(verdict, told) if told else Admitted(Verdict.REGISTRY_AWAY)

    async def _place(self, webhook: AnswerWebhook, plan: NumberPlan, is_fallback: bool, span: Span) -> Admitted:
        call_id, number, changes = webhook.call_uuid, own_number(webhook), self._answered(webhook, plan) | span.change
        hold_ms, overflow = self._settings.attach_by_ms, self._overflow_of(plan)
        reservation = await self._registry.reserve(
            call_id, hold_ms, number=number, ceiling=plan.ceiling, in_turn=True, bot=plan.bot
        )
        if reservation:
            moved = await self._registry.move(
                call_id, CallEvent.ANSWER, {**changes, "worker_id": reservation.worker_id, "detail": ""}
            )
        else:
            detail = HELD_DETAIL if overflow is Overflow.HOLD else NO_CAPACITY_DETAIL
            moved = await self._registry.move(call_id, CallEvent.RING, {**changes, "detail": detail})
        span.join(moved.record.traceparent if moved.record else "")
        verdict = decide(
            moved.before,
            has_slot=reservation is not None,
            is_fallback=is_fallback,
            overflow=overflow,
            ended_as=moved.record.reason if moved.record else "",
        )
        if reservation and not verdict.is_placed:
            await self._registry.release(call_id)
        if told := self._told(verdict, call_id, plan):
            await end_refused(self._registry, self._meter, call_id, TOLD[verdict], changes)
            return Admitted(verdict, told)
        if verdict is Verdict.HELD:
            since_ms, lease_ms = self._registry.now_ms(), PLACE_S * 1000
            await self._registry.join_line(
                call_id, since_ms, lease_ms, number=number, ceiling=plan.ceiling, bot=plan.bot
            )
            return Admitted(verdict, self._hold_answer(call_id, plan))
        if not verdict.is_placed or moved.record is None:
            return Admitted(verdict)
        attach_by_ms = reservation.expires_at_ms if reservation else self._registry.now_ms()
        return Admitted(verdict, self._stream_answer(moved.record, attach_by_ms), moved.record.worker_id)

    def _overflow_of(self, plan: NumberPlan) -> Overflow:
        """What becomes of the call if it cannot be placed. Nobody waits in line for a quarantined bot."""
        waits_in_vain = plan.overflow is Overflow.HOLD and self._is_barred(plan.bot)
        return Overflow.BUSY if waits_in_vain else plan.overflow

    def _place_locally(self, webhook: AnswerWebhook, plan: NumberPlan, span: Span) -> Admitted | None:
        """Without the registry, from this gateway's own share."""
        call_id, now_ms = webhook.call_uuid, self._registry.now_ms()
        attach_by_ms = now_ms + self._settings.attach_by_ms
        changes = self._answered(webhook, plan) | span.change
        given = self._local.place(call_id, own_number(webhook), plan.ceiling, attach_by_ms, changes)
        if given is None:
            return None
        until_ms = now_ms + self._valid_ms
        token = StreamToken(call_id, given.worker_id, plan.format, given.attach_by_ms, until_ms, plan.bot, True)
        return Admitted(Verdict.PLACED_LOCALLY, self._answer(token), given.worker_id)

    def _answered(self, webhook: AnswerWebhook, plan: NumberPlan) -> dict[str, Any]:
        """What an answer writes into the call's record."""
        return parties(webhook) | {
            "bot": plan.bot,
            "codec": str(plan.format.codec),
            "sample_rate": plan.format.sample_rate,
            "answered_at_ms": self._registry.now_ms(),
        }

    @property
    def _valid_ms(self) -> int:
        return round((self._settings.max_call_s + CallLimits.TOKEN_GRACE_S) * 1000)

    def _stream_answer(self, record: CallRecord, attach_by_ms: int) -> StreamAnswer:
        """Where the call's stream shall go, and until when its slot waits for the first one.

        Format and worker are the record's, the time is the slot's: a repetition promises the same.
        """
        return self._answer(
            StreamToken(
                call_id=record.call_id,
                worker_id=record.worker_id,
                format=record.format,
                attach_by_ms=attach_by_ms,
                valid_until_ms=self._registry.now_ms() + self._valid_ms,
                bot=record.bot,
            )
        )

    def _told(self, verdict: Verdict, call_id: str, plan: NumberPlan) -> StreamAnswer | None:
        """The stream of a caller who gets no bot of ours, if there is one."""
        match verdict:
            case Verdict.BUSY_MESSAGE:
                return self.busy_answer(call_id, plan.format)
            case Verdict.REDIRECTED:
                return self._answer_at(plan.redirect_url, call_id, plan.format)
            case _:
                return None

    def busy_answer(self, call_id: str, format: AudioFormat) -> StreamAnswer:
        """A stream that a gateway answers itself, with the busy message. Needs no registry."""
        until_ms = self._registry.now_ms() + BUSY_TOKEN_S * 1000
        return self._answer(StreamToken(call_id, GATEWAY_ITSELF, format, until_ms, until_ms))

    def _hold_answer(self, call_id: str, plan: NumberPlan) -> StreamAnswer:
        """A stream that a gateway holds until a worker has a slot, and that is the call's own from then on."""
        attach_by_ms = self._registry.now_ms() + round((plan.hold_max_s + self._settings.attach_by_s) * 1000)
        valid_until_ms = attach_by_ms + round((self._settings.max_call_s + CallLimits.TOKEN_GRACE_S) * 1000)
        token = StreamToken(call_id, IN_LINE, plan.format, attach_by_ms, valid_until_ms, bot=plan.bot)
        return self._answer(token, waits_s=plan.hold_max_s)

    def _answer(self, token: StreamToken, *, waits_s: float = 0) -> StreamAnswer:
        settings = self._settings
        url = f"{settings.public_wss_url.rstrip('/')}/{sign_token(token, settings.token_keys[0])}"
        return self._answer_at(url, token.call_id, token.format, waits_s=waits_s)

    def _answer_at(self, url: str, call_id: str, format: AudioFormat, *, waits_s: float = 0) -> StreamAnswer:
        settings = self._settings
        return StreamAnswer(
            url=url,
            format=format,
            direction="BOTH",
            stream_timeout_s=math.ceil(settings.max_call_s + waits_s) + CallLimits.STREAM_GRACE_S,
            extra_headers={"X-Call-UUID": call_id},
            bidirectional=True if settings.bidirectional else None,
            keep_call_alive=True if settings.keep_call_alive else None,
        )


async def end_refused(
    registry: Registry,
    meter: Meter,
    call_id: str,
    reason: Reason,
    changes: dict[str, Any] | None = None,
    *,
    fence: int | None = None,
) -> None:
    """The call gets this and nothing else. Counted once, whoever comes first."""
    ended = await end_call(registry, call_id, reason, changes, fence=fence)
    if ended.moved and ended.record and ended.record.result:
        meter.count(CALLS, result=ended.record.result, reason=reason)
