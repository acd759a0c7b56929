"""For every alert: what Prometheus would have scraped, when it must be silent, and when it fires with which words."""

from dataclasses import dataclass, field

WORKER = 'component="worker",process="w1",instance="10.0.0.3:8000",job="sfvopi"'
GATEWAY = 'component="gateway",process="g1",instance="10.0.0.2:9000",job="sfvopi"'
HOUSE = 'component="housekeeping",process="h1",instance="10.0.0.4:9200",job="sfvopi"'
OF_WORKER = {"component": "worker", "process": "w1", "instance": "10.0.0.3:8000", "job": "sfvopi"}


@dataclass(frozen=True)
class Case:
    """`series` in promtool's notation, a value for each `interval`."""

    alert: str
    series: dict[str, str]
    quiet_at: str
    fires_at: str
    summary: str
    labels: dict[str, str] = field(default_factory=dict)
    severity: str = "warning"
    interval: str = "1m"


def histogram(name: str, labels: str, buckets: dict[str, str], count: str) -> dict[str, str]:
    """A histogram with these cumulative buckets."""
    series = {f'{name}_bucket{{{labels},le="{le}"}}': values for le, values in buckets.items()}
    return {**series, f'{name}_bucket{{{labels},le="+Inf"}}': count, f"{name}_count{{{labels}}}": count}


def admissions(**results: str) -> dict[str, str]:
    return {f'sfvopi_admissions_total{{result="{result}",{GATEWAY}}}': values for result, values in results.items()}


CASES = [
    Case(
        "CapacityLow",
        {
            f"sfvopi_capacity_calls{{{WORKER}}}": "100x20",
            f"sfvopi_offered_calls{{{WORKER}}}": "100x20",
            f"sfvopi_active_calls{{{WORKER}}}": "50x4 90x16",
        },
        "4m",
        "12m",
        "Room for 10% of the capacity is left.",
    ),
    Case(
        "CapacityLow",
        {f"sfvopi_ready{{{GATEWAY}}}": "1x20"},
        "4m",
        "6m",
        "Room for 0% of the capacity is left.",
    ),
    Case(
        "CallsRefused",
        admissions(reserved="0+90x20", refused="0x8 0+10x12"),
        "8m",
        "18m",
        "10% of the callers are turned away.",
        severity="critical",
    ),
    Case(
        "NoCalls",
        admissions(reserved="0+5x2016 10080x30"),
        "168h",
        "168h40m",
        "No call has come for 15 minutes; at this time last week there were.",
        severity="critical",
        interval="5m",
    ),
    Case(
        "FirstAudioSlow",
        histogram("sfvopi_first_audio_seconds", WORKER, {"2": "0+1x30", "3": "0+10x30", "5": "0+10x30"}, "0+10x30"),
        "4m",
        "20m",
        "One caller in twenty hears nothing for 2.944s.",
    ),
    Case(
        "BargeInSlow",
        histogram("sfvopi_barge_in_seconds", WORKER, {"0.8": "0+5x30", "1": "0+10x30"}, "0+10x30"),
        "4m",
        "20m",
        "The bot goes on for 980ms when it is interrupted.",
    ),
    Case(
        "FramesLate",
        histogram("sfvopi_frame_lateness_seconds", WORKER, {"0.25": "0+9x30"}, "0+10x30"),
        "4m",
        "20m",
        "Audio stutters in 10% of the calls of w1.",
        {"process": "w1"},
    ),
    Case(
        "EventLoopLag",
        histogram("sfvopi_loop_lag_seconds", WORKER, {"0.1": "0+550x30", "0.25": "0+600x30"}, "0+600x30"),
        "4m",
        "12m",
        "w1 does what is due 232ms late.",
        {name: OF_WORKER[name] for name in ("component", "process", "instance")},
    ),
    Case(
        "CallsDrift",
        {f"sfvopi_calls_drift{{{WORKER}}}": "0x4 2x6"},
        "5m",
        "8m",
        "w1 counts 2 calls that Redis, its memory or its sockets do not.",
        OF_WORKER,
    ),
    Case(
        "ResumeFailed",
        {
            f'sfvopi_resumptions_total{{result="afresh",{WORKER}}}': "0x4 1x16",
            f'sfvopi_reattachments_total{{result="failed",{GATEWAY}}}': "0x20",
        },
        "4m",
        "16m",
        "1 calls lost their conversation or their worker.",
    ),
    Case(
        "PoisonousCall",
        {f'sfvopi_culprits_total{{verdict="convicted",{GATEWAY}}}': "0x4 1x16"},
        "4m",
        "16m",
        "1 calls killed one worker after the other and were ended.",
    ),
    Case(
        "WorkAfterCallCut",
        {f'sfvopi_work_after_call_cut_total{{why="limit",{WORKER}}}': "0x4 5x16"},
        "4m",
        "16m",
        "The work of 5 bots after their calls was cut.",
    ),
    Case(
        "DrainStuck",
        {
            f"sfvopi_draining_seconds{{{WORKER}}}": "0+60x80",
            f"sfvopi_drain_deadline_seconds{{{WORKER}}}": "3600x80",
        },
        "60m",
        "65m",
        "w1 drains for 1h 5m 0s, beyond its deadline.",
        OF_WORKER,
    ),
    Case(
        "MemoryPerCallGrowing",
        {
            f"process_resident_memory_bytes{{{WORKER}}}": "400000000x72 400000000+10000000x80",
            f"sfvopi_call_seconds_count{{{WORKER}}}": "0+10x160",
        },
        "6h30m",
        "12h",
        "w1 keeps 800.2kiB of every call.",
        OF_WORKER,
        interval="5m",
    ),
    Case(
        "BotQuarantined",
        {
            f'sfvopi_bot_quarantined{{bot="my_bots.sales:bot",{GATEWAY}}}': "0x5 1x15",
            f'sfvopi_bot_quarantined{{bot="other",{GATEWAY}}}': "0x20",
        },
        "4m",
        "6m",
        "Calls of my_bots.sales:bot killed their workers; its new ones are turned away.",
        {"bot": "my_bots.sales:bot"},
        "critical",
    ),
    Case(
        "RedisAway",
        {
            f"sfvopi_registry_errors_total{{{WORKER}}}": "0x20 0+5x40",
            f"sfvopi_registry_errors_total{{{GATEWAY}}}": "0x60",
        },
        "3m",
        "6m",
        "A worker gets no answers from Redis; calls go on, new ones are placed from shares.",
        {"component": "worker"},
        "critical",
        interval="10s",
    ),
    Case(
        "RedisSlow",
        histogram("sfvopi_registry_seconds", GATEWAY, {"0.05": "0+5x30", "0.1": "0+60x30"}, "0+60x30"),
        "4m",
        "12m",
        "gateway waits 99.45ms for Redis.",
        {"component": "gateway"},
    ),
    Case(
        "BotFailed",
        {
            f'sfvopi_bot_failed{{bot="m:sales",{WORKER}}}': "0x4 1x16",
            'sfvopi_bot_failed{bot="m:sales",process="w2"}': "0x20",
        },
        "5m",
        "8m",
        "m:sales cannot run on 1 workers: see /readyz or the log of one of them.",
        {"bot": "m:sales"},
    ),
    Case(
        "BotUnavailable",
        {
            f'sfvopi_bot_failed{{bot="m:sales",{WORKER}}}': "1x20",
            'sfvopi_bot_failed{bot="m:sales",process="w2"}': "0x4 1x16",
        },
        "5m",
        "8m",
        "No worker can run m:sales: its callers are turned away.",
        {"bot": "m:sales"},
        "critical",
    ),
    Case(
        "ProviderErrors",
        {f'sfvopi_provider_errors_total{{provider="deepgram",fault="timeout",{WORKER}}}': "0x3 0+3x12"},
        "5m",
        "10m",
        "deepgram failed 15 times (timeout).",
        {"provider": "deepgram", "fault": "timeout"},
    ),
    Case(
        "WebhooksSlow",
        histogram(
            "sfvopi_webhook_seconds",
            f'webhook="answer",result="accepted",{GATEWAY}',
            {"0.5": "0+50x20", "1": "0+60x20"},
            "0+60x20",
        ),
        "4m",
        "10m",
        "The carrier waits 970ms for an answer.",
    ),
    Case(
        "CertificateExpiring",
        {f"sfvopi_certificate_expires_timestamp_seconds{{{HOUSE}}}": "1209600x30"},
        "9m",
        "12m",
        "The certificate that callers' streams meet is good for 13d 23h 48m 0s more.",
    ),
]
HEALTHY = {
    f"sfvopi_capacity_calls{{{WORKER}}}": "100x60",
    f"sfvopi_offered_calls{{{WORKER}}}": "100x60",
    f"sfvopi_active_calls{{{WORKER}}}": "50x60",
    **admissions(reserved="0+60x60", refused="0x60", busy_message="0x60", registry_away="0x60"),
    **histogram("sfvopi_first_audio_seconds", WORKER, {"0.5": "0+60x60", "1": "0+60x60"}, "0+60x60"),
    **histogram("sfvopi_barge_in_seconds", WORKER, {"0.3": "0+60x60", "0.8": "0+60x60"}, "0+60x60"),
    **histogram("sfvopi_frame_lateness_seconds", WORKER, {"0.25": "0+60x60"}, "0+60x60"),
    **histogram("sfvopi_loop_lag_seconds", WORKER, {"0.01": "0+600x60", "0.1": "0+600x60"}, "0+600x60"),
    **histogram("sfvopi_registry_seconds", GATEWAY, {"0.01": "0+60x60", "0.05": "0+60x60"}, "0+60x60"),
    **histogram(
        "sfvopi_webhook_seconds",
        f'webhook="answer",result="accepted",{GATEWAY}',
        {"0.1": "0+60x60", "0.5": "0+60x60"},
        "0+60x60",
    ),
    f"sfvopi_calls_drift{{{WORKER}}}": "0x60",
    f'sfvopi_bot_quarantined{{bot="my_bots.sales:bot",{GATEWAY}}}': "0x60",
    f'sfvopi_resumptions_total{{result="resumed",{WORKER}}}': "0+1x60",
    f'sfvopi_resumptions_total{{result="afresh",{WORKER}}}': "0x60",
    f"sfvopi_draining_seconds{{{WORKER}}}": "0+60x58",
    f"sfvopi_drain_deadline_seconds{{{WORKER}}}": "3600x60",
    f"process_resident_memory_bytes{{{WORKER}}}": "400000000x60",
    f"sfvopi_call_seconds_count{{{WORKER}}}": "0+60x60",
    f"sfvopi_registry_errors_total{{{WORKER}}}": "0+1x60",
    f'sfvopi_bot_failed{{bot="m:sales",{WORKER}}}': "0x60",
    f'sfvopi_provider_errors_total{{provider="openai",fault="server",{WORKER}}}': "0+0.5x60",
    f"sfvopi_certificate_expires_timestamp_seconds{{{HOUSE}}}": "5000000x60",
}
