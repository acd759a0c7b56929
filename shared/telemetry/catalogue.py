"""Every metric that any of our processes has, declared once.

Names are `sfvopi_<subject>_<unit>[_total]`. Labels take values from closed sets only; a call id or a number is
never one. "Per call" means observed once per call. Figures marked `figure` also stand in the call's record
under that name, so that one call can be looked at by itself. `bot` and `number_group` take their names from the bots
file, which is as closed a set: the process that reads it tells its meter. `process_…` are what the client library
says of any process, under the names by which everybody knows them.
"""

from dataclasses import dataclass
from typing import Literal

from shared.calls.culprit import Verdict
from shared.calls.outcome import Reason, Result
from shared.sfvopi.errors import DropReason
from shared.tokens import TokenFault

Kind = Literal["counter", "gauge", "histogram"]

SECONDS_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SECONDS_SPEECH = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
SECONDS_HELD = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0)
SECONDS_CALL = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)


OTHER = ("other",)  # what the bots file does not name
NAMED_BY_BOTS_FILE = ("bot", "number_group")
OF_PROCESS = "process_"  # metrics with this prefix are the client library's own


@dataclass(frozen=True)
class Metric:
    """One metric: its kind, full name, help text, labels with their closed sets, buckets, and figure name."""

    kind: Kind
    name: str
    help: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    buckets: tuple[float, ...] = ()
    figure: str = ""


WEBHOOKS = ("answer", "fallback", "hangup", "ring")
WEBHOOK_RESULTS = ("accepted", "refused", "rejected", "duplicate", "error")
STAGES = ("stt", "llm", "tts", "total")
STREAM_REFUSALS = (
    "token",
    "ended",
    "not_attached_in_time",
    "unknown_call",
    "busy",
    "full",
    "draining",
    "starting",
    "bot_failed",
    "registry_away",
)
PROVIDERS = ("deepgram", "openai", "cartesia", "elevenlabs", "whisper", "scripted", "piper", "other")
PROVIDER_FAULTS = ("auth", "request", "rate_limit", "timeout", "connection", "server", "other")
BOT, NUMBER_GROUP = ("bot", OTHER), ("number_group", OTHER)

WEBHOOK_SECONDS = Metric(
    "histogram",
    "sfvopi_webhook_seconds",
    "Time to answer a webhook.",
    (("webhook", WEBHOOKS), ("result", WEBHOOK_RESULTS)),
    SECONDS_SHORT,
)
ADMISSIONS = Metric(
    "counter",
    "sfvopi_admissions_total",
    "Answer webhooks by what was decided.",
    (
        (
            "result",
            (
                "reserved",
                "placed_locally",
                "repeated",
                "held",
                "refused",
                "busy_message",
                "redirected",
                "ended",
                "registry_away",
            ),
        ),
    ),
)
ROUTES = Metric(
    "counter",
    "sfvopi_routes_total",
    "Decisions where a stream goes.",
    (
        (
            "result",
            (
                "routed",
                "held",
                "busy_message",
                Verdict.SUSPECT,
                Verdict.CONVICTED,
                *STREAM_REFUSALS,
                "worker_away",
                "worker_refused",
            ),
        ),
    ),
)
TOKENS_REFUSED = Metric(
    "counter",
    "sfvopi_tokens_refused_total",
    "Stream tokens that were refused.",
    (("fault", tuple(TokenFault)),),
)
TURNED_AWAY = Metric(
    "counter",
    "sfvopi_turned_away_total",
    "Requests at the public port that were turned away: not an allowed source; failed too often; no connection left.",
    (("why", ("not_allowed", "too_many_failures", "too_many_connections")),),
)
WORKER_ADDRESSES_REFUSED = Metric(
    "counter",
    "sfvopi_worker_addresses_refused_total",
    "Streams that were not brought to a worker because its address is outside `SFVOPI_WORKER_NETWORKS`.",
)
LEGS = Metric("gauge", "sfvopi_legs", "Relayed streams that this gateway holds now.")
HELD_CALLS = Metric("gauge", "sfvopi_held_calls", "Callers who wait in line at this gateway now.")
HOLD_SECONDS = Metric(
    "histogram",
    "sfvopi_hold_seconds",
    "Per caller held at this gateway: how long; until the bot, the busy message, the caller's leaving, the call's end "
    "elsewhere (ended), or this gateway's going away (cut). Judged: it was attached before, and its worker died.",
    (("result", ("attached", "busy_message", "left", "ended", "judged", "cut")),),
    SECONDS_HELD,
    figure="hold_s",
)
LEG_FRAMES_DROPPED = Metric(
    "counter",
    "sfvopi_leg_frames_dropped_total",
    "Frames dropped because the other side was too slow.",
    (("direction", ("to_worker", "to_carrier")),),
)
BOT_QUARANTINED = Metric(
    "gauge",
    "sfvopi_bot_quarantined",
    "1 while new calls of the bot are kept from workers, since its calls kill them.",
    (BOT,),
)
REATTACHMENTS = Metric(
    "counter",
    "sfvopi_reattachments_total",
    "Relayed calls whose worker was lost: attached to another one, or closed because there was none.",
    (("result", ("attached", "failed")),),
)
CULPRITS = Metric(
    "counter",
    "sfvopi_culprits_total",
    "Verdicts on calls whose bot killed its worker: suspect (it gets one more, by itself) or convicted (it is ended).",
    (("verdict", (Verdict.SUSPECT, Verdict.CONVICTED)),),
)
CHECKPOINTS = Metric(
    "counter",
    "sfvopi_checkpoints_total",
    "Conversations kept for a session to come: kept; fenced (the call is over, or another worker's by now); registry "
    "away (tried again); unusable (the bot's state is too large or no JSON).",
    (("result", ("kept", "fenced", "away", "unusable")),),
)
SESSIONS_RESUMED = Metric(
    "counter",
    "sfvopi_resumptions_total",
    "Sessions after a call's first: with the conversation of the one before, or begun anew.",
    (("result", ("resumed", "afresh")),),
)
CALLS = Metric(
    "counter",
    "sfvopi_calls_total",
    "Calls by outcome, counted where they ended.",
    (("result", tuple(Result)), ("reason", tuple(Reason))),
)
ACTIVE_CALLS = Metric("gauge", "sfvopi_active_calls", "Sessions of this worker now.")
CAPACITY = Metric("gauge", "sfvopi_capacity_calls", "Calls that this worker takes at most; 0 while it does not serve.")
OFFERED_CALLS = Metric(
    "gauge",
    "sfvopi_offered_calls",
    "Calls up to which this worker takes new ones now: less than its capacity while it is loaded, 0 while it does not "
    "serve.",
)
CALLS_BY_SOURCE = Metric(
    "gauge",
    "sfvopi_calls_by_source",
    "Calls of this worker by Redis (slots whose stream has come), by its memory (sessions) and by open sockets.",
    (("source", ("registry", "memory", "sockets")),),
)
CALLS_DRIFT = Metric(
    "gauge",
    "sfvopi_calls_drift",
    "By how many calls these three have disagreed without a break for SFVOPI_LEASE_S and SFVOPI_RECONNECT_WINDOW_S "
    "together. Calls that wait for a stream are no difference. Should be 0.",
)
DRAIN_ETA_SECONDS = Metric(
    "gauge",
    "sfvopi_drain_eta_seconds",
    "While this worker drains: expected time until its last call ends, from how long calls of its bots lasted; else 0.",
)
DRAINING_SECONDS = Metric("gauge", "sfvopi_draining_seconds", "For how long this process has been draining; else 0.")
DRAIN_DEADLINE_SECONDS = Metric(
    "gauge", "sfvopi_drain_deadline_seconds", "SFVOPI_DRAIN_DEADLINE_S: a drain that lasts longer is stuck."
)
ANSWER_SECONDS = Metric(
    "histogram",
    "sfvopi_answer_seconds",
    "Per call: from the answer webhook to its response.",
    buckets=SECONDS_SHORT,
    figure="answer_ms",
)
ATTACH_SECONDS = Metric(
    "histogram",
    "sfvopi_attach_seconds",
    "Per call: from the answer to the first stream at the worker.",
    buckets=SECONDS_SHORT,
    figure="attach_ms",
)
FIRST_AUDIO_SECONDS = Metric(
    "histogram",
    "sfvopi_first_audio_seconds",
    "Per call: from `start` to the first playAudio.",
    buckets=SECONDS_SPEECH,
    figure="first_audio_ms",
)
CALL_SECONDS = Metric(
    "histogram",
    "sfvopi_call_seconds",
    "Per call: how long it had a session.",
    buckets=SECONDS_CALL,
    figure="session_s",
)
TURN_SECONDS = Metric(
    "histogram",
    "sfvopi_turn_seconds",
    "Per turn: from the caller's last word to the bot's first, by stage.",
    (("stage", STAGES),),
    SECONDS_SPEECH,
    figure="turn_ms",
)
BARGE_IN_SECONDS = Metric(
    "histogram",
    "sfvopi_barge_in_seconds",
    "Per interruption: from the caller's first loud frame to clearAudio.",
    buckets=SECONDS_SPEECH,
    figure="barge_in_ms",
)
FRAME_LATENESS_SECONDS = Metric(
    "histogram",
    "sfvopi_frame_lateness_seconds",
    "Per call: the worst lateness of a frame sent to the carrier.",
    buckets=SECONDS_SHORT,
    figure="frame_lateness_ms",
)
LATE_FRAMES = Metric(
    "counter",
    "sfvopi_late_frames_total",
    "Pieces of audio that left for a caller 50 ms or more after the moment planned for them. A caller hears it from "
    "SFVOPI_SEND_LEAD_MS less SFVOPI_SEND_CHUNK_MS on.",
)
LOOP_LAG_SECONDS = Metric(
    "histogram",
    "sfvopi_loop_lag_seconds",
    "How late the event loop wakes, sampled ten times a second.",
    buckets=SECONDS_SHORT,
)
VAD_SECONDS = Metric(
    "counter",
    "sfvopi_vad_seconds_total",
    "Time spent in the model that finds speech, over all calls of this worker.",
)
SMART_TURN_WAIT_SECONDS = Metric(
    "histogram",
    "sfvopi_smart_turn_wait_seconds",
    "Per pause in a caller's speech: how long it waited for the model that decides on turns, where a bot has one.",
    buckets=SECONDS_SHORT,
)
SMART_TURNS_UNDECIDED = Metric(
    "counter",
    "sfvopi_smart_turns_undecided_total",
    "Pauses that ended a turn without the model being asked, since too many waited for it.",
)
FRAMES_DROPPED = Metric(
    "counter",
    "sfvopi_frames_dropped_total",
    "WebSocket messages of the carrier that could not be used.",
    (("reason", tuple(DropReason)),),
)
STREAMS = Metric(
    "counter",
    "sfvopi_streams_total",
    "Streams that reached this worker.",
    (("result", ("attached", "adopted", "replaced", *STREAM_REFUSALS, "no_start")),),
)
UPGRADE_HEADER_MISMATCH = Metric(
    "counter",
    "sfvopi_upgrade_header_mismatch_total",
    "Streams whose X-Call-UUID was not the token's call.",
    (("kind", ("absent", "different")),),
)
BOT_FAILED = Metric(
    "gauge",
    "sfvopi_bot_failed",
    "1 for a bot that this worker cannot run, by the bot's own code or settings: its calls go elsewhere, or get what a "
    "full fleet's do; else 0.",
    (BOT,),
)
BOT_WAITS_FOR_PROVIDER = Metric(
    "gauge",
    "sfvopi_bot_waits_for_provider",
    "1 for a bot whose provider was away at its last rehearsal; else 0.",
    (BOT,),
)
PROVIDER_ERRORS = Metric(
    "counter",
    "sfvopi_provider_errors_total",
    "Errors of speech and language providers.",
    (("provider", PROVIDERS), ("fault", PROVIDER_FAULTS)),
)
BOT_CALLS = Metric(
    "counter",
    "sfvopi_bot_calls_total",
    "Calls whose last session was here, when they ended.",
    (BOT, NUMBER_GROUP, ("result", tuple(Result))),
)
BOT_SECONDS = Metric(
    "counter",
    "sfvopi_bot_seconds_total",
    "Seconds of sessions, added when a session ends: what a call had here.",
    (BOT, NUMBER_GROUP),
)
EARLY_HANGUPS = Metric(
    "counter",
    "sfvopi_early_hangups_total",
    "Callers who left within ten seconds, before the bot had answered anything.",
    (BOT, NUMBER_GROUP),
)
STT_AUDIO_SECONDS = Metric(
    "counter",
    "sfvopi_stt_audio_seconds_total",
    "Audio that speech recognition was given, as Pipecat reports it (`enable_usage_metrics` of the bot).",
    (("provider", PROVIDERS), BOT, NUMBER_GROUP),
)
TTS_CHARACTERS = Metric(
    "counter",
    "sfvopi_tts_characters_total",
    "Characters that were to be spoken, as Pipecat reports them (`enable_usage_metrics` of the bot).",
    (("provider", PROVIDERS), BOT, NUMBER_GROUP),
)
LLM_TOKENS = Metric(
    "counter",
    "sfvopi_llm_tokens_total",
    "Tokens of language models, as Pipecat reports them (`enable_usage_metrics` of the bot).",
    (("provider", PROVIDERS), ("kind", ("prompt", "completion")), BOT, NUMBER_GROUP),
)
STUCK_SESSIONS = Metric(
    "counter",
    "sfvopi_stuck_sessions_total",
    "Sessions that had to be cut.",
    (("step", ("cancelled", "abandoned")),),
)
SESSION_TASKS_LEFT = Metric(
    "counter", "sfvopi_session_tasks_left_total", "Tasks that a session left behind and that were cancelled."
)
BOTS_AFTER_CALL = Metric(
    "gauge", "sfvopi_bots_after_call", "Bots that are still at work though their calls are over. They hold no slot."
)
WORK_AFTER_CALL_CUT = Metric(
    "counter",
    "sfvopi_work_after_call_cut_total",
    "Bots whose work after the call was cut: over SFVOPI_AFTER_CALL_S (limit), for want of room (crowded), or with the "
    "process (stopped).",
    (("why", ("limit", "crowded", "stopped")),),
)
REGISTRY_ERRORS = Metric("counter", "sfvopi_registry_errors_total", "Calls to the registry that failed.")
REGISTRY_SECONDS = Metric(
    "histogram",
    "sfvopi_registry_seconds",
    "How long the registry takes to tell the time, asked with each heartbeat.",
    buckets=SECONDS_SHORT,
)
CLOCK_OFFSET_SECONDS = Metric("gauge", "sfvopi_clock_offset_seconds", "This process' clock against the registry's.")
READY = Metric("gauge", "sfvopi_ready", "1 when this process is ready, else 0.")
HOUSEKEEPING_ERRORS = Metric(
    "counter", "sfvopi_housekeeping_errors_total", "Rounds of housekeeping that were not done; its /readyz says why."
)
OUTBOX_CLOSED = Metric("counter", "sfvopi_records_closed_total", "Call records that housekeeping closed.")
REAPED = Metric(
    "counter",
    "sfvopi_reaped_total",
    "What housekeeping ended for the dead.",
    (("kind", ("never_attached", "worker_lost", "rang_on", "already_ended", "worker")),),
)
CERTIFICATE_EXPIRES_SECONDS = Metric(
    "gauge",
    "sfvopi_certificate_expires_timestamp_seconds",
    "Until when the certificate at PUBLIC_WSS_URL is good (Unix time), as housekeeping sees it; 0: it does not.",
)
PROCESS_CPU_SECONDS = Metric("counter", "process_cpu_seconds_total", "CPU time of this process.")
PROCESS_MEMORY_BYTES = Metric("gauge", "process_resident_memory_bytes", "Memory of this process.")
PROCESS_OPEN_FILES = Metric("gauge", "process_open_fds", "Open file descriptors of this process.")
PROCESS_MOST_FILES = Metric("gauge", "process_max_fds", "File descriptors that this process may have open.")
PROCESS_STARTED_SECONDS = Metric("gauge", "process_start_time_seconds", "When this process was started (Unix time).")
BUILD = Metric("gauge", "sfvopi_build_info", "Always 1; the version of this process is in its labels.")

CATALOGUE: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
