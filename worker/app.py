"""A worker process, put together: settings and registry in, calls answered, a drain at the end."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Self

from shared.calls.outcome import Reason
from shared.calls.record import CallRecord, own_number
from shared.fleet.address import is_worker_address
from shared.fleet.worker import WorkerRecord, WorkerState, seat_name
from shared.process.main import process_id
from shared.process.memory import EndedCalls
from shared.process.own_address import address_of
from shared.process.server import Server, listen_for, serve
from shared.process.tasks import SideTasks, sample_loop_lag
from shared.recordings import APOLOGY
from shared.registry.contract import Registry, RegistryAway
from shared.registry.settling import settling_ms
from shared.settings import Numbers, SettingsError, WorkerSettings
from shared.settings.numbers import NumberPlan
from shared.telemetry.catalogue import (
    DRAIN_DEADLINE_SECONDS,
    SMART_TURN_WAIT_SECONDS,
    SMART_TURNS_UNDECIDED,
    VAD_SECONDS,
)
from shared.telemetry.health import Health
from shared.telemetry.logs import get_logger
from shared.telemetry.meter import Meter
from shared.telemetry.traces import NO_TRACER, Span, Tracer
from shared.version import VERSION
from worker.afterwards import Afterwards
from worker.attaching import Attaching
from worker.bot_builds import build_of
from worker.bot_loader import Bot, BotLoader
from worker.fencing import SleepGuard
from worker.fleet_link import FleetLink
from worker.leaving import Leaving
from worker.observing import CallWatch
from worker.pipeline.services.current import use_settings
from worker.pipeline.turn import tell_waits
from worker.pipeline.vad import take_spent_s
from worker.prepared_bots import PreparedBots
from worker.prompts import Prompt
from worker.provider_health import Patience
from worker.resumption import CheckpointStore
from worker.server import worker_app
from worker.session import Session, Workplace
from worker.sessions import Sessions
from worker.standing import Standing
from worker.stream import CallStream
from worker.tasks import install_task_factory, start_shared

CLEARS_OF_A_SESSION = 1000  # numbers of clearAudio go on over a call's sessions, whatever the last one left
PING_S = 1.0  # what stands between us and the caller (nginx) takes a worker that is silent for seconds for gone
END_S = 15.0  # for sessions that were told to end, when the process has no more time


class WorkerApp:
    """One worker. `start`, then `drain` and/or `stop`. Raises `SettingsError` when it cannot be put together."""

    def __init__(
        self,
        settings: WorkerSettings,
        registry: Registry,
        load_bot: Callable[[str], Bot] | None = None,
        *,
        tracer: Tracer = NO_TRACER,
        look_after: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._look_after = look_after  # a bot, whose code has just run for the first time
        self.settings = settings
        self._tracer = tracer
        self.registry = registry
        self.worker_id = process_id(settings.worker_id)
        self._numbers = Numbers.read(settings)
        self.meter = Meter("worker", self._numbers.groups_of_bots)
        self.meter.set(DRAIN_DEADLINE_SECONDS, settings.drain_deadline_s)
        self.health = Health()
        self.sessions = Sessions(settings.calls_per_worker)
        self.server: Server | None = None
        self._load_bot = load_bot or BotLoader().load  # raises BotNotFound
        self._builds: dict[str, str] = {}  # of the bots that are loaded
        self._workplace = Workplace(
            settings,
            self.meter,
            self._bot_of,
            _read_apology(settings),
            CheckpointStore(registry, self.meter, settings.checkpoint_key_list),
        )
        self._standing = Standing(settings, self.sessions, self.meter, self.health, self._open_streams)
        self._guard = SleepGuard(settings.lease_s)
        self._started_at_ms = registry.now_ms()
        self._seat = seat_name(self.worker_id, self._started_at_ms)
        self._link = FleetLink(
            self.worker_id,
            self._seat,
            settings,
            registry,
            self.sessions,
            self.meter,
            self.health,
            self._describe_now,
            self._standing.hear,
            self._guard,
        )
        self._standing.changed = self._link.beat_soon
        self.bots = PreparedBots(
            self._numbers,
            settings.rehearsal_mode,
            self.meter,
            self.health,
            self._load,
            self._look_after,
            tracer,
            self.worker_id,
            self._link.beat_soon,
        )
        self.afterwards = Afterwards(settings, self.meter, self._link.note, self._link.tell_after)
        self._leaving = Leaving(
            settings, self.sessions, self.afterwards, self._link, self._standing, self.health, self.meter
        )
        self._side = SideTasks(self.health)
        self._ended = EndedCalls()
        self._is_prepared = False
        self._running: set[asyncio.Task[None]] = set()
        self._log = get_logger(__name__)

    # -- its life

    async def start(self, when_prepared: Callable[[], None] = lambda: None) -> Self:
        """Listen (not ready), load and rehearse the bots, then serve. `when_prepared` may hold the loop up."""
        install_task_factory(asyncio.get_running_loop())
        self._use_what_bots_use()  # for the rehearsals
        attaching = Attaching(
            self.settings,
            self.worker_id,
            self._seat,
            self.registry,
            self.sessions,
            self.meter,
            self._standing,
            self._open_session,
            lambda record: self.bots.can_run(self._name_of_bot(record)),
        )
        api_token = self.settings.api_token.get_secret_value()
        app = worker_app(attaching, self.sessions, self.health, self.meter, api_token, self._details)
        self.sessions.is_starting = True
        listener = listen_for("SFVOPI_WORKER_PORT", self.settings.host, self.settings.port)
        self.server = await serve(app, sock=listener, ping_s=PING_S)
        self._check_address()
        await self._link.beat()
        await self._prepare_bots()
        when_prepared()
        await self._until_calls_are_placed()
        self._guard.go_on()  # the start may have held the loop up
        self.sessions.is_starting = False
        self._is_prepared = not self.health.bot_failed
        await self._link.beat()  # whoever hears that we are ready may place a call at once
        self.health.started = self._is_prepared
        self._side.start("loop lag", sample_loop_lag(self.meter, self._standing.saw_lag))  # the start's is no call's
        self._side.start("heartbeats", self._link.keep_beating())
        self._side.start("sleep guard", self._guard.keep_beating())
        self._side.start("look after sleep", self._link.look_after_sleep())
        self._side.start("nudges", self._link.listen())
        self._side.start("timelines", self._link.keep_noting())
        self._side.start("rehearsals", self._rehearse_again())
        self._log.info("serving", address=self.address, capacity=self.settings.calls_per_worker, state=str(self.state))
        return self

    async def _until_calls_are_placed(self) -> None:
        """After a start without data that takes a moment; whoever hears that we are ready shall find room."""
        with contextlib.suppress(RegistryAway):
            since_ms = await self.registry.since_ms()
            await asyncio.sleep(settling_ms(since_ms, self.registry.settle_ms, self.registry.now_ms()) / 1000)

    async def drain(self) -> None:
        """No new calls; returns when the last one has ended or was moved, or the drain's deadline has come."""
        await self._leaving.drain()

    async def hand_over(self) -> None:
        """Somebody will not wait: move what can be moved, within seconds."""
        await self._leaving.hand_over()

    async def until_ordered(self) -> None:
        """Returns when an operator has asked this worker to leave."""
        await self._standing.ordered.wait()

    async def stop(self) -> None:
        """End what still runs, say goodbye to the fleet, close the port."""
        self._leaving.begin()
        cut = [session.record.call_id for session in self.sessions.all() if session.ending is None]
        if cut:
            self._log.warning("calls cut off", call_ids=cut)
        for session in self.sessions.all():
            session.end(Reason.SHUTDOWN, "the worker was stopped")
        if self._running:
            await asyncio.wait(self._running, timeout=END_S)
        await self.afterwards.stop(END_S)
        await self._side.stop()
        await self._link.leave()
        if self.server is not None:
            await self.server.stop()

    # -- what it says of itself

    @property
    def address(self) -> str:
        """IP:port at which streams reach this worker."""
        if self.settings.address or self.server is None:
            return self.settings.address
        return address_of(self.server.host, self.server.port)

    def _check_address(self) -> None:
        if not is_worker_address(self.address, self.settings.own_networks):
            raise SettingsError(
                f"SFVOPI_WORKER_NETWORKS: this worker's address {self.address} is in none of them, so no gateway would "
                "bring it a stream; add its network, the same on all gateways and workers, or set SFVOPI_WORKER_ADDRESS"
            )

    @property
    def state(self) -> WorkerState:
        if self.health.draining:
            return WorkerState.DRAINING
        return WorkerState.SERVING if self._is_prepared else WorkerState.STARTING

    def describe(self) -> WorkerRecord:
        """This worker, as the fleet sees it."""
        return WorkerRecord(
            self.worker_id,
            self.address,
            self.state,
            self.settings.calls_per_worker,
            VERSION,
            self._started_at_ms,
            offers=self._standing.offers,
            drift=self._standing.drift,
            eta_s=self._leaving.eta_s,
            builds=dict(self._builds),
            bots=self.bots.listed,
        )

    def _describe_now(self) -> WorkerRecord:
        self._standing.measure()
        self._leaving.measure()
        self.meter.count(VAD_SECONDS, take_spent_s())
        return self.describe()

    def _open_streams(self) -> int:
        return self.server.open_streams if self.server else 0

    def _details(self) -> dict[str, Any]:
        return {
            "worker_id": self.worker_id,
            "calls": len(self.sessions),
            "capacity": self.settings.calls_per_worker,
            "offers": self._standing.offers,
            **self.bots.details(),
        }

    # -- bots

    def _use_what_bots_use(self) -> None:
        use_settings(self.settings)
        tell_waits(self._smart_turn_waited)

    def _smart_turn_waited(self, seconds: float | None) -> None:
        if seconds is None:
            self.meter.count(SMART_TURNS_UNDECIDED)
        else:
            self.meter.observe(SMART_TURN_WAIT_SECONDS, seconds)

    async def _prepare_bots(self) -> None:
        if self.settings.rehearse:
            self._log.warning("SFVOPI_REHEARSE is called SFVOPI_REHEARSAL now", used_as=self.settings.rehearsal_mode)
        await self.bots.prepare()

    async def _rehearse_again(self) -> None:
        self._use_what_bots_use()
        await self.bots.keep_rehearsing()

    def bots_here(self) -> set[str]:
        """Those that have calls; without a call, all that were loaded."""
        return {session.tasks.whose["bot"] for session in self.sessions.all()} or self.bots.loaded

    async def _bot_of(self, record: CallRecord) -> Bot:
        """The call's bot. Raises `BotNotFound`."""
        return await self.bots.get(self._name_of_bot(record))

    def _name_of_bot(self, record: CallRecord) -> str:
        return record.bot or self._plan_of(record).bot

    def _load(self, name: str) -> Bot:
        try:
            bot = self._load_bot(name)
        finally:
            self._look_after(name)
        self._builds[name] = build_of(name.partition(":")[0])
        return bot

    def _plan_of(self, record: CallRecord) -> NumberPlan:
        """What the bots file says of the call's number, the one of ours."""
        return self._numbers.plan_for(own_number(record))

    def _labels_of(self, record: CallRecord) -> dict[str, str]:
        plan = self._plan_of(record)
        return {
            "bot": self.meter.name_of("bot", record.bot or plan.bot),
            "number_group": self.meter.name_of("number_group", plan.group),
        }

    # -- sessions

    def _span_of(self, record: CallRecord, whose: Mapping[str, str]) -> Span:
        """A session as a span of its call's trace; of one of its own if nobody has begun one, or told us."""
        span = self._tracer.begin("session", parent=record.traceparent)
        span.tell(call_id=record.call_id, worker_id=self.worker_id, epoch=record.epoch, direction=record.direction)
        span.tell(**whose)
        return span

    def _open_session(self, record: CallRecord) -> Session:
        settings = self.settings
        whose = self._labels_of(record)
        watch = CallWatch(
            self.meter,
            self.registry.now_ms,
            f"worker:{self.worker_id}",
            transcripts=settings.transcripts,
            call_id=record.call_id,
            whose=whose,
            patience=Patience(settings.provider_patience_s, settings.greeting_patience_s),
            span=self._span_of(record, whose),
        )
        stream = CallStream(
            record.call_id,
            record.format,
            watch,
            send_lead_s=settings.send_lead_ms / 1000,
            send_chunk_ms=settings.send_chunk_ms,
            hold_s=settings.reconnect_window_s,
            clears=CLEARS_OF_A_SESSION * max(0, record.attachments - 1),
            bot=record.bot,
        )
        stream.may_write = self._guard.may_write
        stream.repeats_unheard, stream.resume_line = settings.resume == "repeat", settings.resume_line
        began_ms = record.first_attached_at_ms or self.registry.now_ms()  # the registry may have been away by then
        age_s = (self.registry.now_ms() - began_ms) / 1000 if record.attachments > 1 else 0.0
        session = Session(record, stream, self._workplace, self._link.claim_end, age_s)
        self.sessions.add(session)
        running = start_shared(self._run(session), name=f"session:{record.call_id}")
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return session

    async def _run(self, session: Session) -> None:
        self._use_what_bots_use()  # a session's context is its own, and begins empty
        try:
            await session.run()
        except Exception:  # the edge of a session: it must not take others with it
            self._log.exception("session failed", call_id=session.record.call_id)
            session.end(Reason.BOT_ERROR, "the session failed")
        finally:
            ending = session.ending
            told = ending.reason if ending is not None and not ending.is_handover else None
            if ending is not None and ending.is_handover:
                await self._link.note(session.record.call_id, session.stream.watch)
            elif ending is not None:
                await self._link.tell_ended(session, ending)
            self.sessions.remove(session)
            self._ended.one_more()
            session.stream.watch.session_ended(told, session.age_s)
            self.afterwards.take(session.record.call_id, session.afterwork())


def _read_apology(settings: WorkerSettings) -> Prompt:
    try:
        return Prompt(settings.apology_wav or APOLOGY)
    except ValueError as error:
        raise SettingsError(f"SFVOPI_APOLOGY_WAV: {error}") from None
