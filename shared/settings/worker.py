"""Settings of a worker process, and of the services that its bots use."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from shared.networks import is_loopback, parse_ip_and_port
from shared.settings.fleet import MOST_PORTS, SHORTEST_KEY, FleetSettings, env, split

YES, NO = frozenset({"on", "yes", "true", "1"}), frozenset({"off", "no", "false", "0"})


class Rehearsal(StrEnum):
    """What the rehearsal of a bot decides."""

    REQUIRE = "require"
    WARN = "warn"
    OFF = "off"


class WorkerSettings(FleetSettings):
    """Where the worker listens, how many calls it takes, which deadlines end them, which services speak."""

    host: str = Field("127.0.0.1", validation_alias=env("SFVOPI_WORKER_HOST"))
    port: int = Field(
        0,
        ge=0,
        le=MOST_PORTS,
        validation_alias=env("SFVOPI_WORKER_PORT"),
        description="Streams and internal API; 0: any free port.",
    )
    address: str = Field(
        "",
        validation_alias=env("SFVOPI_WORKER_ADDRESS"),
        description="IP:port at which gateways and nginx reach this worker. Default: host and port listened on.",
    )
    worker_id: str = Field("", validation_alias=env("SFVOPI_WORKER_ID"), description="Default: host name and process.")
    calls_per_worker: int = Field(
        10,
        gt=0,
        validation_alias=env("SFVOPI_CALLS_PER_WORKER"),
        description="Slots of this process; `sfvopi bench capacity` finds how many it carries.",
    )

    watchdog_s: float = Field(
        3,
        ge=0,
        validation_alias=env("SFVOPI_WATCHDOG_S"),
        description="Seconds. A worker whose event loop stands still for longer is killed by its parent process. 0: "
        "never.",
    )
    lag_limit_ms: float = Field(
        100,
        ge=0,
        validation_alias=env("SFVOPI_LAG_LIMIT_MS"),
        description="A worker whose event loop is later than this, on average over a second, takes no new call. From "
        "half of it on it offers half of its free slots. 0: lag does not count.",
    )
    memory_limit_mb: float = Field(
        0,
        ge=0,
        validation_alias=env("SFVOPI_MEMORY_LIMIT_MB"),
        description="Of this process. A worker offers nothing when less than a tenth of it is left (at most 512 MB), "
        "and is killed at 1.2 times of it. 0: the limit of its container, else the machine's memory.",
    )
    carrier_reconnects: str = Field(
        "auto",
        validation_alias=env("SFVOPI_CARRIER_RECONNECTS"),
        description="Whether the carrier brings a stream again that was closed: yes, no, or auto (once it was seen). "
        "Only then is a call that nginx took straight to its worker moved to another one; else it finishes or is cut.",
    )
    start_deadline_s: float = Field(
        5, gt=0, validation_alias=env("SFVOPI_START_DEADLINE_S"), description="For `start` on a new stream."
    )
    media_timeout_s: float = Field(
        10,
        gt=0,
        validation_alias=env("SFVOPI_MEDIA_TIMEOUT_S"),
        description="Seconds. A stream without any message for longer is dead: media flows even in silence.",
    )
    idle_s: float = Field(
        120,
        gt=0,
        validation_alias=env("SFVOPI_IDLE_S"),
        description="A call in which nobody speaks is ended.",
    )
    provider_patience_s: float = Field(
        5,
        gt=0,
        validation_alias=env("SFVOPI_PROVIDER_PATIENCE_S"),
        description="Seconds that a caller waits in silence for an answer whose provider has failed, before the call "
        "is given up with an apology. The default is longer than the 4 s after which Pipecat's services reconnect. A "
        "service that can do no more work (its key is refused) is given one second.",
    )
    greeting_patience_s: float = Field(
        10,
        gt=0,
        validation_alias=env("SFVOPI_GREETING_PATIENCE_S"),
        description="Likewise, for a caller to whom nothing was said yet: the first sound of a voice may take long.",
    )
    end_grace_s: float = Field(
        5, gt=0, validation_alias=env("SFVOPI_END_GRACE_S"), description="For a pipeline to end by itself."
    )
    cancel_grace_s: float = Field(
        2,
        gt=0,
        validation_alias=env("SFVOPI_CANCEL_GRACE_S"),
        description="For a cancelled pipeline to be gone.",
    )
    after_call_s: float = Field(
        60,
        ge=0,
        validation_alias=env("SFVOPI_AFTER_CALL_S"),
        description="Seconds that a bot may go on working after its call, for a summary or an upload; then it is "
        "cut. It holds no slot meanwhile. A worker has room for two such bots per slot.",
    )
    send_lead_ms: int = Field(
        200,
        ge=0,
        le=1000,
        validation_alias=env("SFVOPI_SEND_LEAD_MS"),
        description="How far audio is sent ahead of its playing, so that a late moment of ours is not heard.",
    )
    send_chunk_ms: int = Field(
        100,
        ge=20,
        le=200,
        multiple_of=10,
        validation_alias=env("SFVOPI_SEND_CHUNK_MS"),
        description="Audio in one playAudio, at most half of the lead. Each costs the same, however long it is; "
        "a carrier may want shorter ones.",
    )

    resume: str = Field(
        "repeat",
        validation_alias=env("SFVOPI_RESUME"),
        description="A call that goes on in a new session: repeat (what the caller has not heard is said again; the "
        "line below if there is nothing) or bridge (always the line).",
    )
    resume_line: str = Field(
        "Sorry, we were cut off for a moment.",
        validation_alias=env("SFVOPI_RESUME_LINE"),
        description="What a bot says first in a new session of a call that goes on; empty: nothing.",
    )
    checkpoint_keys: SecretStr = Field(
        SecretStr(""),
        validation_alias=env("SFVOPI_CHECKPOINT_KEYS"),
        description="Keys that encrypt conversations kept in Redis, comma separated; the first encrypts, all decrypt. "
        "Empty: not encrypted.",
    )
    rehearsal: str = Field(
        "require",
        validation_alias=env("SFVOPI_REHEARSAL"),
        description="Every bot is run once, without a caller, before the first call. require: a bot that fails by its "
        "own code or settings gets no calls, and a worker that can run no bot is not ready, so that a deploy stops; "
        "warn: the failure is only logged, and the bot gets its calls; off: no bot is run.",
    )
    rehearse: str = Field(
        "",
        validation_alias=env("SFVOPI_REHEARSE"),
        description="The old name, for one more version: on is SFVOPI_REHEARSAL=require, off is off.",
    )
    pipecat_log_level: str = Field(
        "WARNING",
        validation_alias=env("SFVOPI_PIPECAT_LOG_LEVEL"),
        description="The lowest level of Pipecat's own lines that is logged. DEBUG lines hold what callers say, and "
        "need SFVOPI_LOG_TEXTS=on; without it INFO is the lowest.",
    )

    stt: str = Field("", validation_alias=env("SFVOPI_STT"), description="deepgram, openai, elevenlabs, whisper …")
    llm: str = Field("", validation_alias=env("SFVOPI_LLM"), description="openai, scripted …")
    tts: str = Field("", validation_alias=env("SFVOPI_TTS"), description="cartesia, elevenlabs, openai, piper …")
    deepgram_api_key: SecretStr = Field(SecretStr(""), validation_alias=env("DEEPGRAM_API_KEY"))
    openai_api_key: SecretStr = Field(SecretStr(""), validation_alias=env("OPENAI_API_KEY"))
    cartesia_api_key: SecretStr = Field(SecretStr(""), validation_alias=env("CARTESIA_API_KEY"))
    elevenlabs_api_key: SecretStr = Field(SecretStr(""), validation_alias=env("ELEVENLABS_API_KEY"))
    deepgram_url: str = Field("", validation_alias=env("DEEPGRAM_URL"), description="Other than the provider's own.")
    openai_base_url: str = Field("", validation_alias=env("OPENAI_BASE_URL"), description="Likewise.")
    cartesia_url: str = Field("", validation_alias=env("CARTESIA_URL"), description="Likewise.")
    elevenlabs_url: str = Field("", validation_alias=env("ELEVENLABS_URL"), description="Likewise.")
    script: Path | None = Field(
        None,
        validation_alias=env("SFVOPI_SCRIPT"),
        description="A file of rules: what SFVOPI_LLM=scripted answers and calls. Default: a receptionist's script.",
    )
    llm_model: str = Field("gpt-4o-mini", validation_alias=env("SFVOPI_LLM_MODEL"))
    max_reply_tokens: int = Field(
        120,
        gt=0,
        validation_alias=env("SFVOPI_MAX_REPLY_TOKENS"),
        description="Replies on a phone are short.",
    )
    voice: str = Field("", validation_alias=env("SFVOPI_VOICE"), description="The provider's voice id.")
    piper_voice: Path | None = Field(
        None, validation_alias=env("SFVOPI_PIPER_VOICE"), description=".onnx of a piper voice of your own."
    )
    piper_url: str = Field(
        "",
        validation_alias=env("SFVOPI_PIPER_URL"),
        description="A running piper HTTP server; default: start one.",
    )
    whisper_model: Path | None = Field(
        None,
        validation_alias=env("SFVOPI_WHISPER_MODEL"),
        description="Folder of a faster-whisper model of your own.",
    )

    @property
    def is_public(self) -> bool:
        return super().is_public or not is_loopback(self.host)

    @property
    def checkpoint_key_list(self) -> list[str]:
        return split(self.checkpoint_keys)

    @property
    def rehearsal_mode(self) -> Rehearsal:
        """What is to be done, by either name."""
        if self.rehearse and "rehearsal" not in self.model_fields_set:
            return Rehearsal.OFF if self.rehearse.lower() in NO else Rehearsal.REQUIRE
        return Rehearsal(self.rehearsal)

    @field_validator("rehearsal")
    @classmethod
    def _is_a_way_to_rehearse(cls, given: str) -> str:
        if given not in tuple(Rehearsal):
            raise ValueError("must be require, warn or off")
        return given

    @field_validator("rehearse")
    @classmethod
    def _is_yes_or_no(cls, given: str) -> str:
        if given and given.lower() not in YES | NO:
            raise ValueError("must be on or off; its new name is SFVOPI_REHEARSAL (require, warn or off)")
        return given

    @field_validator("resume")
    @classmethod
    def _is_a_way_to_go_on(cls, given: str) -> str:
        if given not in ("repeat", "bridge"):
            raise ValueError("must be repeat or bridge")
        return given

    @field_validator("carrier_reconnects")
    @classmethod
    def _is_known_or_seen(cls, given: str) -> str:
        if given not in ("yes", "no", "auto"):
            raise ValueError("must be yes, no or auto")
        return given

    @field_validator("checkpoint_keys")
    @classmethod
    def _cannot_be_found_by_trying(cls, given: SecretStr) -> SecretStr:
        if any(len(key) < SHORTEST_KEY for key in split(given)):
            raise ValueError(f"a key has {SHORTEST_KEY} characters or more: make one with `openssl rand -hex 32`")
        return given

    @field_validator("address")
    @classmethod
    def _can_be_reached_without_looking_it_up(cls, given: str) -> str:
        if given and parse_ip_and_port(given) is None:
            raise ValueError("must be IP:port, such as 10.0.0.7:9100 or [fd00::7]:9100, and no name")
        return given

    @model_validator(mode="after")
    def _can_verify_tokens(self) -> Self:
        if not self.token_keys:
            raise ValueError("SFVOPI_TOKEN_SECRETS is not set: give this worker the gateways' secret")
        return self
