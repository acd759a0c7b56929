"""Where a stream goes, for `/route` and for relayed ones: asks the registry what `routing` decides by.

A live call whose worker is gone is judged before it goes to another one.
"""

import asyncio
from dataclasses import replace

from gateway.judging import CulpritJudge, is_gone
from gateway.routing import (
    AnswerHere,
    Decision,
    Hold,
    JudgeHere,
    Refused,
    Route,
    decide,
    decide_without_registry,
    is_for_gateway,
    past,
)
from shared.calls.culprit import Verdict
from shared.calls.lost import may_be_lost
from shared.calls.record import CallRecord, own_number
from shared.calls.state import CallState
from shared.fleet.address import is_worker_address, reachable
from shared.fleet.worker import WorkerView
from shared.registry import Registry, RegistryAway
from shared.settings import GatewaySettings, Numbers
from shared.settings.numbers import Overflow
from shared.sfvopi.closing import Refusal
from shared.telemetry.catalogue import REGISTRY_ERRORS, ROUTES, TOKENS_REFUSED, WORKER_ADDRESSES_REFUSED
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.tokens import StreamToken, TokenRejected, verify_token

TELLING_MS = 500  # a worker tells of its calls with the heartbeat after which they count, one after the other
LOOK_S = 0.1


class Director:
    """Verifies the token, and says what is to be done with its stream."""

    def __init__(
        self,
        registry: Registry,
        settings: GatewaySettings,
        numbers: Numbers,
        meter: Meter,
        judge: CulpritJudge,
    ) -> None:
        self._registry = registry
        self._judge = judge
        self._numbers = numbers
        self._settings = settings
        self._secrets = settings.token_keys
        self._meter = meter
        self._networks = settings.own_networks
        self._last_workers: list[WorkerView] = []
        self._outside: frozenset[str] = frozenset()
        self._log = get_logger(__name__)

    @property
    def last_workers(self) -> list[WorkerView]:
        """As last heard of, for when the registry is away; kept fresh by the heartbeat. None of them is outside."""
        return self._last_workers

    @last_workers.setter
    def last_workers(self, heard_of: list[WorkerView]) -> None:
        self._last_workers = reachable(heard_of, self._networks)
        within = {view.record.worker_id for view in self._last_workers}
        outside = frozenset(view.record.worker_id for view in heard_of if view.record.worker_id not in within)
        for worker_id in outside - self._outside:
            self._meter.count(WORKER_ADDRESSES_REFUSED)
            self._log.error("worker is outside SFVOPI_WORKER_NETWORKS: gets no stream", worker_id=worker_id)
        self._outside = outside

    def is_reachable(self, address: str) -> bool:
        """Whether a stream may be brought to this address."""
        return is_worker_address(address, self._networks)

    async def direct(self, text: str, failed_address: str = "") -> tuple[StreamToken | None, Decision]:
        """The token behind the text, if it is good, and what to do with its stream; not to the worker that failed."""
        try:
            token = verify_token(text, self._secrets, self._registry.now_ms())
        except TokenRejected as rejected:
            self._meter.count(TOKENS_REFUSED, fault=rejected.fault)
            self._meter.count(ROUTES, result="token")
            return None, Refused(Refusal.BAD_TOKEN, "token")
        decision = await self._decide(token, failed_address)
        self._meter.count(ROUTES, result=_label(decision))
        return token, decision

    async def instead(self, token: StreamToken) -> Hold | AnswerHere | None:
        """What a new call gets that no worker takes, by its number's policy; None: it is refused.

        One whose reservation was lost with the registry is new, too; its number was lost as well.
        """
        try:
            record = await self._registry.get(token.call_id)
            if record:
                is_new = record.state is CallState.RESERVED
            else:
                is_due = self._registry.now_ms() <= token.attach_by_ms
                is_new = is_due and self._may_be_lost(token, await self._registry.since_ms())
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return None
        plan = self._numbers.plan_for(own_number(record)) if record else self._numbers.default
        if is_new and plan.overflow is Overflow.HOLD:
            return Hold(record)
        return AnswerHere() if is_new and plan.overflow is Overflow.BUSY else None

    async def _decide(self, token: StreamToken, failed_address: str) -> Decision:
        if is_for_gateway(token):
            return decide(token, None, [], self._registry.now_ms())
        try:
            record, is_perhaps_lost = await self._look_up(token)
            workers = await self._registry.workers()
        except RegistryAway:
            self._meter.count(REGISTRY_ERRORS)
            return decide_without_registry(token, past(failed_address, self.last_workers), self._registry.now_ms())
        self.last_workers = workers or self.last_workers  # a registry that was started empty knows none yet
        if record:
            attach_by_ms = record.attach_by_ms(token.attach_by_ms, self._settings.attach_by_ms)
            token = replace(token, attach_by_ms=attach_by_ms)
        if record and is_gone(record, workers, failed_address, self._registry.now_ms()):
            try:
                judgement = await self._judge.judge_record(record)
            except RegistryAway:
                self._meter.count(REGISTRY_ERRORS)
            else:
                if judgement.verdict is not Verdict.PASSENGER:
                    return JudgeHere(judgement)
        able = past(failed_address, reachable(workers, self._networks))
        return decide(token, record, able, self._registry.now_ms(), is_perhaps_lost=is_perhaps_lost)

    async def _look_up(self, token: StreamToken) -> tuple[CallRecord | None, bool]:
        """The call's record; of an unknown one, whether it may be lost. That is said when workers had time to tell."""
        record = await self._registry.get(token.call_id)
        if record is not None:
            return record, False
        asked_ms, since_ms = self._registry.now_ms(), await self._registry.since_ms()
        if not self._may_be_lost(token, since_ms):
            return None, False
        told_by_ms = (since_ms or asked_ms) + self._settings.settle_ms + TELLING_MS
        while record is None and self._registry.now_ms() < told_by_ms:
            await asyncio.sleep(LOOK_S)
            record = await self._registry.get(token.call_id)
        return record, self._may_be_lost(token, await self._registry.since_ms())

    def _may_be_lost(self, token: StreamToken, since_ms: int) -> bool:
        return may_be_lost(
            token.attach_by_ms - self._settings.attach_by_ms,
            token.attach_by_ms,
            self._registry.now_ms(),
            since_ms=since_ms,
            window_ms=self._settings.lost_for_ms,
            is_local=token.is_local,
        )


def _label(decision: Decision) -> str:
    match decision:
        case Route():
            return "routed"
        case AnswerHere():
            return "busy_message"
        case Hold():
            return "held"
        case JudgeHere():
            return str(decision.judgement.verdict)
        case Refused():
            return decision.why
