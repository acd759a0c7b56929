"""From what is heard on the phone to where its cause is seen: a log line, a metric, a check, a command.

Metrics are named by the catalogue, so that none is named that is not there. docs/symptoms.md is made from this.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from shared.telemetry import catalogue as m


class SymptomKey(StrEnum):
    """How a symptom is asked for."""

    SILENT = "silent"
    CHIPMUNK = "chipmunk"
    STATIC = "static"
    RATE = "rate"
    TALKS_OVER = "talks-over"
    WEBHOOK_TIMEOUT = "webhook-timeout"
    DTMF = "dtmf"


@dataclass(frozen=True, slots=True)
class Clue:
    """One possible cause: what it is, what shows it, what to do."""

    cause: str
    seen_in: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Symptom:
    """What people notice. `checks` are doctor's own that bear on it (by the start of their names)."""

    key: SymptomKey
    what: str
    clues: tuple[Clue, ...]
    checks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        SymptomKey.SILENT,
        "the call connects, and then there is silence",
        (
            Clue(
                "no stream came after the answer: its URL is not wss://, or its host, path or certificate is wrong",
                "`sfvopi wire CALL` has `reserved` and no `upgraded`. If the caller waited for SFVOPI_ATTACH_BY_S, "
                f'`sfvopi calls` says failed: never_attached and `{m.CALLS.name}{{reason="never_attached"}}` counts it',
                "PUBLIC_WSS_URL must be wss://, reachable, and have the path that the TLS front passes on",
            ),
            Clue(
                "a stream came and was refused",
                f"gateway log `stream refused` and `worker did not take the stream`; `{m.ROUTES.name}`, "
                f"`{m.STREAMS.name}` and `{m.TOKENS_REFUSED.name}`; `refused_stream` in the timeline",
                "token: the same SFVOPI_TOKEN_SECRETS on every process; full: more workers",
            ),
            Clue(
                "a stream came, but never its `start`",
                f'failed: no_start; `{m.STREAMS.name}{{result="no_start"}}`',
                "something else than SFVoPI connected, or a proxy in between holds text frames back",
            ),
            Clue(
                "the bot never speaks: it raised, or a provider is down",
                f"failed: bot_error or provider_error; `{m.PROVIDER_ERRORS.name}`; `provider_error` in the timeline; "
                "worker log `the bot raised`, and at start `a bot failed its rehearsal`",
                "check the provider's key and quota; run the bot once by hand",
            ),
        ),
        ("PUBLIC_WSS_URL", "SFVOPI_TOKEN_SECRETS", "stt", "llm", "tts", "fleet"),
    ),
    Symptom(
        SymptomKey.CHIPMUNK,
        "the bot sounds like a chipmunk or a robot: too fast, too slow, or in pieces",
        (
            Clue(
                "answer and playAudio disagree on codec or rate (our transport cannot, so: a bot with its own)",
                "`sfvopi call URL --json`: `frames_wrong_format` above 0; the answer's `codec` and `sample_rate` stand "
                "in `sfvopi calls show CALL`",
                "use SFVoPITransport.for_call(runner_args), which takes the format of the answer",
            ),
            Clue(
                "audio comes late and in pieces: the machine is overloaded",
                f"`{m.FRAME_LATENESS_SECONDS.name}`, `{m.LOOP_LAG_SECONDS.name}`; the call's figure "
                f"`{m.FRAME_LATENESS_SECONDS.figure}`; `underruns` of `sfvopi call URL --json`",
                "fewer SFVOPI_CALLS_PER_WORKER, or more cores",
            ),
        ),
        ("format", "bot"),
    ),
    Symptom(
        SymptomKey.STATIC,
        "static or a loud hum, one way only",
        (
            Clue(
                "A-law is read as µ-law, or the reverse (0xD5, silence in A-law, hums in µ-law)",
                f'`{m.FRAMES_DROPPED.name}{{reason="wrong_format"}}`; `wire` in `sfvopi wire CALL` has '
                "`dropped.wrong_format`: what came in another format than the answer's `codec` in "
                "`sfvopi calls show CALL`",
                "SFVOPI_CODEC=PCMA on all processes; a media frame without contentType is taken as the answer's codec",
            ),
        ),
        ("format",),
    ),
    Symptom(
        SymptomKey.RATE,
        "16 kHz was asked for, and recognition is no better",
        (
            Clue(
                "the trunk is 8 kHz A-law end to end: the carrier only upsamples",
                "doctor's check `format`; gateway log at start `format costs more than PCMA 8000`",
                "SFVOPI_CODEC=PCMA, SFVOPI_SAMPLE_RATE=8000, and a recognition model made for telephony",
            ),
        ),
        ("format",),
    ),
    Symptom(
        SymptomKey.TALKS_OVER,
        "the bot talks over the caller and cannot be interrupted",
        (
            Clue(
                "VAD is not wired: the bot gives vad=None to its transport, or audio_passthrough=False to the "
                "recognition before its own VAD; vad_analyzer= on TransportParams is ignored without a word",
                "worker log at start, level error: `no speech detection (VAD) is wired in this bot`; doctor's check "
                "`bot` of that bot; no `interrupted` in the timeline",
                "SFVoPITransport.for_call(runner_args), which notices speech unless the bot has a VAD of its own",
            ),
            Clue(
                "the interruption is seen but late",
                f"`{m.BARGE_IN_SECONDS.name}`; `interrupted` in the timeline, with its ms; `barge_in_ms` of "
                "`sfvopi call URL --json`",
                "a shorter start_secs of the VAD",
            ),
            Clue(
                "clearAudio is sent and the carrier goes on playing",
                "`sfvopi wire CALL`: `sent.clearAudio` in `wire`, and no `audio_cleared`, or one with long ms",
                "keep this output: it is for Superfone; meanwhile a lower SFVOPI_SEND_LEAD_MS",
            ),
        ),
        ("bot",),
    ),
    Symptom(
        SymptomKey.WEBHOOK_TIMEOUT,
        "SFVoPI says that the webhook timed out (its limit is 10 s), or asks the fallback",
        (
            Clue(
                "no request arrived: URL, secret or firewall",
                f"`{m.WEBHOOK_SECONDS.name}_count` does not move; with a wrong secret the answer is 404",
                "`sfvopi call URL` from outside with the registered URL; `sfvopi up` prints the right ones",
            ),
            Clue(
                "it is answered late: Redis is slow or away",
                f"`{m.WEBHOOK_SECONDS.name}`, `{m.REGISTRY_ERRORS.name}`; `/readyz` says `registry_away`; doctor's "
                "check `redis latency`",
                "put Redis next to the gateways",
            ),
            Clue(
                "it is answered with a refusal, so that the fallback is asked: no worker has room",
                f'`{m.ADMISSIONS.name}{{result="refused"}}`; `sfvopi workers`',
                "more workers, or more SFVOPI_CALLS_PER_WORKER",
            ),
        ),
        ("redis", "port", "fleet"),
    ),
    Symptom(
        SymptomKey.DTMF,
        "keys do nothing",
        (
            Clue(
                "they were pressed before the stream was up: those are lost, SFVoPI does not keep them",
                "`sfvopi wire CALL`: no `digit` after `stream_started`",
                "ask for the key in the bot's own prompt",
            ),
            Clue(
                "they arrive in a form that we do not know",
                f"`{m.FRAMES_DROPPED.name}` grows with each key; so does `dropped` of `wire` in `sfvopi wire CALL`",
                "keep this output, and report it",
            ),
            Clue(
                "they arrive and the bot has nothing that handles InputDTMFFrame",
                "`sfvopi wire CALL` has the `digit`, and nothing happens",
                "the receptionist's DTMFRouter shows how",
            ),
        ),
        ("bot",),
    ),
)
BY_KEY = {symptom.key: symptom for symptom in SYMPTOMS}


def as_markdown() -> str:
    """All symptoms as a document."""
    lines = [
        "# What you hear, and where its cause is seen",
        "",
        "Made from the code by `sfvopi doctor --markdown`. `sfvopi doctor --symptom silent` looks at what can be",
        "checked from here. CALL is a call's id, from `sfvopi calls`; URL is an answer URL. Entries of the timeline",
        "are named as in `sfvopi wire CALL` and `sfvopi calls show CALL --json`; without `--json` they are in words.",
    ]
    for symptom in SYMPTOMS:
        lines += ["", f"## {symptom.key}: {symptom.what}", ""]
        lines += ["| possible cause | what shows it | what to do |", "| --- | --- | --- |"]
        lines += [f"| {clue.cause} | {clue.seen_in} | {clue.remedy} |" for clue in symptom.clues]
    return "\n".join(lines)
