"""Alerts: few, and each with a paragraph in docs/runbook.md. Critical pages somebody; a warning can wait for the day.

Thresholds that are durations of the system (a drain's margin, a certificate's rest) go by the clock as windows do;
what callers feel (half a second) does not.
"""

from dataclasses import dataclass
from typing import Literal

from deploy.monitoring.promql import Clock, increase, rate, series, total
from shared.telemetry.catalogue import (
    ADMISSIONS,
    BOT_FAILED,
    BOT_QUARANTINED,
    CALL_SECONDS,
    CALLS_DRIFT,
    CAPACITY,
    CERTIFICATE_EXPIRES_SECONDS,
    CULPRITS,
    DRAIN_DEADLINE_SECONDS,
    DRAINING_SECONDS,
    FRAME_LATENESS_SECONDS,
    PROCESS_MEMORY_BYTES,
    PROVIDER_ERRORS,
    REATTACHMENTS,
    REGISTRY_ERRORS,
    SESSIONS_RESUMED,
    WORK_AFTER_CALL_CUT,
)

MINUTE, HOUR, DAY, WEEK = 60, 3600, 86_400, 604_800
MB = 1_000_000

LEAST_ROOM = 0.15
MOST_REFUSED = 0.01
FEW_REFUSED = 3  # in five minutes: of a quiet night one caller is half of all
CALLS_LAST_WEEK = 10
FIRST_AUDIO_S = 2.5
BARGE_IN_S = 0.8
HEARD_LATENESS_S = "0.25"  # a bucket; audio is sent 0.2 s ahead, so that nobody hears less
MOST_LATE_CALLS = 0.05
LOOP_LAG_S = 0.1
REGISTRY_S = 0.05
REGISTRY_ERRORS_A_SECOND = 0.3  # a process whose every heartbeat fails has one a second
PROVIDER_ERRORS_AT_ONCE = 5
WORK_CUT_AT_ONCE = 3
WEBHOOK_S = 0.5
GROWTH_PER_CALL, GROWTH = 0.1 * MB, 200 * MB

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True)
class Alert:
    """`lasts_s`: for so long it must be true, by the clock."""

    name: str
    expression: str
    lasts_s: float
    severity: Severity
    summary: str


def alerts(clock: Clock) -> list[Alert]:
    """All of them, with durations by this clock."""
    return [
        *_room(clock),
        *_experience(clock),
        *_continuity(clock),
        *_bots(),
        *_dependencies(clock),
    ]


def _room(clock: Clock) -> list[Alert]:
    asked = total(rate(ADMISSIONS, clock(5 * MINUTE)))
    refused = total(rate(ADMISSIONS, clock(5 * MINUTE), result="refused|busy_message|registry_away"))
    refused_of_late = total(increase(ADMISSIONS, clock(5 * MINUTE), result="refused|busy_message|registry_away"))
    now = total(increase(ADMISSIONS, clock(15 * MINUTE)))
    last_week = total(increase(ADMISSIONS, clock(15 * MINUTE), offset=clock(WEEK)))
    return [
        Alert(
            "CapacityLow",
            f"fleet:room:ratio < {LEAST_ROOM} or ({total(series(CAPACITY))} or vector(0)) == 0",
            5 * MINUTE,
            "warning",
            "Room for {{ $value | humanizePercentage }} of the capacity is left.",
        ),
        Alert(
            "CallsRefused",
            f"{refused} / {asked} > {MOST_REFUSED} and {refused_of_late} > {FEW_REFUSED}",
            2 * MINUTE,
            "critical",
            "{{ $value | humanizePercentage }} of the callers are turned away.",
        ),
        Alert(
            "NoCalls",
            f"({now} or vector(0)) == 0 and {last_week} > {CALLS_LAST_WEEK}",
            5 * MINUTE,
            "critical",
            "No call has come for 15 minutes; at this time last week there were.",
        ),
    ]


def _experience(clock: Clock) -> list[Alert]:
    lateness, window = FRAME_LATENESS_SECONDS, clock(15 * MINUTE)
    in_time = total(rate(lateness, window, "_bucket", le=HEARD_LATENESS_S), "process")
    return [
        Alert(
            "FirstAudioSlow",
            f"fleet:first_audio_seconds:p95 > {FIRST_AUDIO_S}",
            5 * MINUTE,
            "warning",
            "One caller in twenty hears nothing for {{ $value | humanizeDuration }}.",
        ),
        Alert(
            "BargeInSlow",
            f"fleet:barge_in_seconds:p95 > {BARGE_IN_S}",
            5 * MINUTE,
            "warning",
            "The bot goes on for {{ $value | humanizeDuration }} when it is interrupted.",
        ),
        Alert(
            "FramesLate",
            f"1 - {in_time} / ({total(rate(lateness, window, '_count'), 'process')} > 0) > {MOST_LATE_CALLS}",
            5 * MINUTE,
            "warning",
            "Audio stutters in {{ $value | humanizePercentage }} of the calls of {{ $labels.process }}.",
        ),
        Alert(
            "EventLoopLag",
            f"process:loop_lag_seconds:p99 > {LOOP_LAG_S}",
            5 * MINUTE,
            "warning",
            "{{ $labels.process }} does what is due {{ $value | humanizeDuration }} late.",
        ),
    ]


def _continuity(clock: Clock) -> list[Alert]:
    draining, deadline = series(DRAINING_SECONDS), series(DRAIN_DEADLINE_SECONDS)
    afresh = total(increase(SESSIONS_RESUMED, clock(15 * MINUTE), result="afresh"))
    failed = total(increase(REATTACHMENTS, clock(15 * MINUTE), result="failed"))
    cut = total(increase(WORK_AFTER_CALL_CUT, clock(15 * MINUTE), why="limit|crowded"))
    convicted = total(increase(CULPRITS, clock(15 * MINUTE), verdict="convicted"))
    worker = {"component": "worker"}
    floor = f"min_over_time({series(PROCESS_MEMORY_BYTES, **worker)}[{clock(HOUR)}])"
    before = f"min_over_time({series(PROCESS_MEMORY_BYTES, **worker)}[{clock(HOUR)}] offset {clock(6 * HOUR)})"
    calls = increase(CALL_SECONDS, clock(6 * HOUR), "_count", **worker)
    return [
        Alert(
            "CallsDrift",
            f"{series(CALLS_DRIFT)} > 0",
            2 * MINUTE,
            "warning",
            "{{ $labels.process }} counts {{ $value }} calls that Redis, its memory or its sockets do not.",
        ),
        Alert(
            "ResumeFailed",
            f"({afresh} or vector(0)) + ({failed} or vector(0)) > 0",
            0,
            "warning",
            "{{ $value | humanize }} calls lost their conversation or their worker.",
        ),
        Alert(
            "BotQuarantined",
            f"max by (bot) ({series(BOT_QUARANTINED)}) > 0",
            0,
            "critical",
            "Calls of {{ $labels.bot }} killed their workers; its new ones are turned away.",
        ),
        Alert(
            "PoisonousCall",
            f"({convicted} or vector(0)) > 0",
            0,
            "warning",
            "{{ $value | humanize }} calls killed one worker after the other and were ended.",
        ),
        Alert(
            "WorkAfterCallCut",
            f"({cut} or vector(0)) > {WORK_CUT_AT_ONCE}",
            0,
            "warning",
            "The work of {{ $value | humanize }} bots after their calls was cut.",
        ),
        Alert(
            "DrainStuck",
            f"{draining} > {deadline} + {clock.seconds(30):.10g}",
            30,
            "warning",
            "{{ $labels.process }} drains for {{ $value | humanizeDuration }}, beyond its deadline.",
        ),
        Alert(
            "MemoryPerCallGrowing",
            f"({floor} - {before}) / ({calls} > 0) > {GROWTH_PER_CALL:.0f} and {floor} - {before} > {GROWTH:.0f}",
            30 * MINUTE,
            "warning",
            "{{ $labels.process }} keeps {{ $value | humanize1024 }}B of every call.",
        ),
    ]


def _bots() -> list[Alert]:
    return [
        Alert(
            "BotFailed",
            f"{total(series(BOT_FAILED), 'bot')} > 0",
            MINUTE,
            "warning",
            "{{ $labels.bot }} cannot run on {{ $value }} workers: see /readyz or the log of one of them.",
        ),
        Alert(
            "BotUnavailable",
            f"min by (bot) ({series(BOT_FAILED)}) == 1",
            MINUTE,
            "critical",
            "No worker can run {{ $labels.bot }}: its callers are turned away.",
        ),
    ]


def _dependencies(clock: Clock) -> list[Alert]:
    errors = total(increase(PROVIDER_ERRORS, clock(5 * MINUTE)), "provider", "fault")
    certificate = series(CERTIFICATE_EXPIRES_SECONDS)
    return [
        Alert(
            "RedisAway",
            f"max by (component) ({rate(REGISTRY_ERRORS, clock(2 * MINUTE))}) > {REGISTRY_ERRORS_A_SECOND}",
            1 * MINUTE,
            "critical",
            "A {{ $labels.component }} gets no answers from Redis; calls go on, new ones are placed from shares.",
        ),
        Alert(
            "RedisSlow",
            f"component:registry_seconds:p99 > {REGISTRY_S}",
            5 * MINUTE,
            "warning",
            "{{ $labels.component }} waits {{ $value | humanizeDuration }} for Redis.",
        ),
        Alert(
            "ProviderErrors",
            f"{errors} > {PROVIDER_ERRORS_AT_ONCE}",
            2 * MINUTE,
            "warning",
            "{{ $labels.provider }} failed {{ $value | humanize }} times ({{ $labels.fault }}).",
        ),
        Alert(
            "WebhooksSlow",
            f"fleet:webhook_seconds:p99 > {WEBHOOK_S}",
            5 * MINUTE,
            "warning",
            "The carrier waits {{ $value | humanizeDuration }} for an answer.",
        ),
        Alert(
            "CertificateExpiring",
            f"min(({certificate} > 0) - time()) < {clock.seconds(14 * DAY):.10g}",
            10 * MINUTE,
            "warning",
            "The certificate that callers' streams meet is good for {{ $value | humanizeDuration }} more.",
        ),
    ]
