"""What every process of a fleet is told, and how settings are read.

A setting is an environment variable, a line in `.env`, or, for secrets, a file named by `NAME_FILE`. An unknown
`SFVOPI_…` variable is refused with the nearest known name: a typo that is ignored is found in production.
"""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared.fleet.address import OWN_NETWORKS
from shared.networks import Network, is_loopback, parse_networks

T = TypeVar("T", bound="FleetSettings")

LOCAL_REDIS = SecretStr("redis://127.0.0.1:6379/0")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MOST_PORTS = 65535
LONGEST_HOLD_S = 540  # housekeeping takes a call for forgotten that has no worker for ten minutes
SHORTEST_KEY = 16  # characters; a shorter one is warned of


class Weakness(NamedTuple):
    """A setting that can be used, and should not be: said at each start, and by the doctor."""

    setting: str
    what: str
    remedy: str


SHORT_TOKEN_KEY = Weakness(
    "SFVOPI_TOKEN_SECRETS",
    f"a key of fewer than {SHORTEST_KEY} characters can be found by trying: whoever has it can attach streams",
    "make one with `openssl rand -hex 32`, the same on all gateways and workers",
)

SHOWN_TEXTS = Weakness(
    "SFVOPI_LOG_TEXTS",
    "what callers and bots say stands in the logs of a fleet that others can reach",
    "set it to off once you have found what you look for, and delete the logs",
)


class SettingsError(Exception):
    """The settings cannot be used; the message says which and what to do."""


def env(name: str) -> AliasChoices:
    """The environment variable of a field, and the same name in lower case (pydantic's own spelling)."""
    return AliasChoices(name, name.lower())


class SecretFiles(PydanticBaseSettingsSource):
    """`NAME_FILE=/run/secrets/name` in place of `NAME=…`, for every setting."""

    def __init__(self, settings_cls: type[BaseSettings], dotenv: DotEnvSettingsSource) -> None:
        super().__init__(settings_cls)
        self._environment = {**{k.upper(): v for k, v in dotenv.env_vars.items()}, **os.environ}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = variable_of(field, field_name)
        path = self._environment.get(f"{name}_FILE")
        if not path:
            return None, field_name, False
        if self._environment.get(name):
            raise SettingsError(f"{name} and {name}_FILE are both set; keep one of them")
        given = read_file(f"{name}_FILE", Path(path)).strip()
        if not given and name.startswith("SFVOPI_"):  # a provider's key may be left empty: the provider is not used
            raise SettingsError(f"{name}_FILE: {path} is empty; write the value into it, or leave {name}_FILE out")
        return given, field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                values[variable_of(field, key)] = value
        return values


def read_file(setting: str, path: Path) -> str:
    """A file that a setting names. Raises `SettingsError`, which quotes nothing of it."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{setting}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{setting}: {path} is not UTF-8 text (at byte {error.start}); save it as UTF-8") from None


def read_env_file() -> str:
    """The text of `./.env`, empty when there is none. Raises `SettingsError`."""
    path = Path(".env")
    return read_file("settings", path) if path.is_file() else ""


def variable_of(field: FieldInfo, name: str) -> str:
    """The environment variable of a field."""
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper()


class FleetSettings(BaseSettings):
    """Shared by gateway, worker and housekeeping. Times in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        populate_by_name=True,
        frozen=True,
        allow_inf_nan=False,  # no deadline is endless
    )

    redis_url: SecretStr = Field(
        LOCAL_REDIS,
        validation_alias=env("REDIS_URL"),
        description="redis://, rediss://, unix:// or redis+sentinel://host:26379,host:26379/service/db",
    )
    token_secrets: SecretStr = Field(
        SecretStr(""),
        validation_alias=env("SFVOPI_TOKEN_SECRETS"),
        description="Keys that sign stream URLs, comma separated, 16 characters or more each; "
        "the first signs, all verify. Same on every process.",
    )
    api_token: SecretStr = Field(
        SecretStr(""),
        validation_alias=env("SFVOPI_API_TOKEN"),
        description="Bearer token of the internal API. Empty: the API answers on loopback only.",
    )
    numbers_file: Path | None = Field(
        None,
        validation_alias=env("SFVOPI_BOTS"),
        description="TOML file with a table per dialled number: bot, codec, sample_rate, overflow, ceiling, group.",
    )
    default_bot: str = Field(
        "worker.bots.receptionist:bot",
        validation_alias=env("SFVOPI_BOT"),
        description="module:function of the bot for numbers that the file does not name.",
    )
    public_wss_url: str = Field(
        "",
        validation_alias=env("PUBLIC_WSS_URL"),
        description="wss://host/ws as the carrier reaches it; ws:// only on loopback. The token is appended. Gateways "
        "must have it; housekeeping looks, once an hour, until when the certificate there is good.",
    )
    codec: str = Field("PCMA", validation_alias=env("SFVOPI_CODEC"), description="PCMA, PCMU or L16.")
    sample_rate: int = Field(
        8000,
        validation_alias=env("SFVOPI_SAMPLE_RATE"),
        description="Hz. The trunk is 8000: more costs and gains nothing.",
    )
    apology_wav: Path | None = Field(
        None,
        validation_alias=env("SFVOPI_APOLOGY_WAV"),
        description="What a caller hears when the bot or a provider fails, from a worker, or from a gateway when the "
        "call has killed its workers: a mono 16-bit WAV. Default: a short English message.",
    )
    overflow: str = Field(
        "reject",
        validation_alias=env("SFVOPI_OVERFLOW"),
        description="For a call that no worker can take: reject (the primary fails, so that the fallback is asked, and "
        "ours says that all lines are busy), busy (say so at once), hold (music, and a place in line) or redirect (to "
        "SFVOPI_REDIRECT_URL).",
    )
    redirect_url: str = Field(
        "",
        validation_alias=env("SFVOPI_REDIRECT_URL"),
        description="wss:// address of another SFVoPI server, for overflow = redirect.",
    )
    hold_max_s: float = Field(
        120,
        gt=0,
        le=LONGEST_HOLD_S,
        validation_alias=env("SFVOPI_HOLD_MAX_S"),
        description="For overflow = hold: the longest wait in line; then the busy message.",
    )
    ceiling: int = Field(
        0,
        ge=0,
        validation_alias=env("SFVOPI_CEILING"),
        description="Most calls at once for a number of ours: the flood of one leaves room for others. 0: no limit.",
    )
    max_call_s: float = Field(
        3600, gt=0, validation_alias=env("SFVOPI_MAX_CALL_S"), description="Longest call; then it is ended."
    )
    attach_by_s: float = Field(
        60,
        gt=0,
        validation_alias=env("SFVOPI_ATTACH_BY_S"),
        description="How long a slot waits for the first stream of an answered call.",
    )
    reconnect_window_s: float = Field(
        10,
        ge=0,
        validation_alias=env("SFVOPI_RECONNECT_WINDOW_S"),
        description="How long a session waits for a stream that closed without a hangup; 0: end at once.",
    )
    heartbeat_s: float = Field(
        1,
        gt=0,
        validation_alias=env("SFVOPI_HEARTBEAT_S"),
        description="Between heartbeats of a process. With more than 1.4 behind nginx (which gives `/route` 2 s), "
        "callers whose reservations are lost with Redis are refused.",
    )
    lease_s: float = Field(
        5,
        gt=0,
        validation_alias=env("SFVOPI_LEASE_S"),
        description="Seconds. A worker that sends no heartbeat for longer counts as dead, and its slots as free.",
    )
    drain_deadline_s: float = Field(
        3600,
        gt=0,
        validation_alias=env("SFVOPI_DRAIN_DEADLINE_S"),
        description="For calls to finish on SIGTERM; what is left then is handed over, where that is possible, or cut.",
    )
    retention_s: float = Field(
        7 * 86400,
        gt=0,
        validation_alias=env("SFVOPI_RETENTION_S"),
        description="How long records of ended calls are kept.",
    )
    transcripts: bool = Field(
        False,
        validation_alias=env("SFVOPI_TRANSCRIPTS"),
        description="on: what was said, and what tools were asked and answered, goes into the call's timeline, and "
        "what was said into traces. Never into logs.",
    )
    worker_networks: str = Field(
        OWN_NETWORKS,
        validation_alias=env("SFVOPI_WORKER_NETWORKS"),
        description="Networks in which workers may be, comma separated. Gateways send no stream to an address outside, "
        "whatever the registry says; a worker outside does not start.",
    )
    log_level: str = Field(
        "INFO",
        validation_alias=env("SFVOPI_LOG_LEVEL"),
        description="The lowest level of the fleet's and of bots' lines that is logged. DEBUG lines of libraries are "
        "logged only with SFVOPI_LOG_TEXTS=on, too.",
    )
    log_texts: bool = Field(
        False,
        validation_alias=env("SFVOPI_LOG_TEXTS"),
        description="on: log lines keep everything, also the messages of exceptions, and so may quote callers and "
        "bots; numbers and secrets stay masked. Use it to find a bot's fault on your own machine.",
    )
    otlp_endpoint: str = Field(
        "",
        validation_alias=env("OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="Traces of gateways and workers go there, by OTLP over HTTP, such as http://collector:4318. Empty: "
        "no traces. Other OTEL_… variables (sampler, batches, timeout …) are read by OpenTelemetry's SDK itself.",
    )
    otlp_traces_endpoint: str = Field(
        "",
        validation_alias=env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        description="Likewise, with the whole path.",
    )
    otlp_headers: SecretStr = Field(
        SecretStr(""),
        validation_alias=env("OTEL_EXPORTER_OTLP_HEADERS"),
        description="What the collector wants to see, as name=value, comma separated.",
    )
    otlp_traces_headers: SecretStr = Field(
        SecretStr(""),
        validation_alias=env("OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
        description="Instead of these, where traces go elsewhere.",
    )
    traces_exporter: str = Field(
        "otlp",
        validation_alias=env("OTEL_TRACES_EXPORTER"),
        description="none: no traces, whatever endpoint the environment names.",
    )

    @field_validator("worker_networks")
    @classmethod
    def _are_networks(cls, given: str) -> str:
        if not parse_networks(given):
            raise ValueError("names no network: no worker could be reached")
        return given

    @field_validator("log_level")
    @classmethod
    def _is_a_level(cls, given: str) -> str:
        if given.upper() not in LOG_LEVELS:
            raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
        return given.upper()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(dotenv_settings, DotEnvSettingsSource)
        assert isinstance(env_settings, EnvSettingsSource)
        # before the environment, where an empty line of .env counts as said; what is said twice they refuse
        files = SecretFiles(settings_cls, dotenv_settings)
        return init_settings, files, env_settings, dotenv_settings

    @field_validator("redis_url")
    @classmethod
    def _names_a_redis(cls, url: SecretStr) -> SecretStr:
        from shared.registry.address import parse_address  # brings redis-py, which who only imports us need not have

        given = url.get_secret_value() or LOCAL_REDIS.get_secret_value()  # `REDIS_URL=` is not set
        parse_address(given)  # its errors name the fault and never quote the URL, which may hold a password
        return SecretStr(given)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if 3 * self.heartbeat_s > self.lease_s:
            raise ValueError(
                f"SFVOPI_LEASE_S ({self.lease_s:g}) must be at least three heartbeats "
                f"(3 × SFVOPI_HEARTBEAT_S = {3 * self.heartbeat_s:g}), or one late beat loses a worker"
            )
        return self

    @property
    def is_traced(self) -> bool:
        """Whether traces are wanted."""
        return bool(self.otlp_endpoint or self.otlp_traces_endpoint) and self.traces_exporter != "none"

    @property
    def attach_by_ms(self) -> int:
        return round(self.attach_by_s * 1000)

    @property
    def lost_for_ms(self) -> int:
        """A call whose worker is silent is given up after so long: its carrier may still come back."""
        return round((self.reconnect_window_s + self.lease_s) * 1000)

    @property
    def settle_ms(self) -> int:
        """After Redis was started empty: for workers to tell of their calls, before new ones are placed."""
        return round(self.heartbeat_s * 1000)

    @property
    def own_networks(self) -> tuple[Network, ...]:
        """Where workers may be."""
        return parse_networks(self.worker_networks)

    @property
    def token_keys(self) -> list[str]:
        """The keys of stream tokens, the signing one first."""
        return split(self.token_secrets)

    @property
    def weaknesses(self) -> list[Weakness]:
        """What can be used, and should not be."""
        found = [SHORT_TOKEN_KEY] if any(len(key) < SHORTEST_KEY for key in self.token_keys) else []
        if self.log_texts and self.is_public:
            found.append(SHOWN_TEXTS)
        return found

    @property
    def is_public(self) -> bool:
        """Whether others than this machine can reach this process, or the fleet that it is a part of."""
        return bool(self.public_wss_url) and not is_loopback(urlsplit(self.public_wss_url).hostname)

    @classmethod
    def read(cls: type[T], **given: Any) -> T:
        """Read the settings. Raises `SettingsError` with all that is wrong, a line each."""
        _refuse_unknown_names()
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError("\n".join(_lines(cls, error))) from None


class CallLimits:
    """Names of the times that follow from others, so that they are computed in one place."""

    STREAM_GRACE_S = 60  # stream_timeout is the longest call plus this
    TOKEN_GRACE_S = 300  # and the token is good for the longest call plus this


def split(value: SecretStr) -> list[str]:
    """A comma-separated secret as its parts."""
    return [part.strip() for part in value.get_secret_value().split(",") if part.strip()]


def known_names() -> set[str]:
    """Every variable that any process of ours reads."""
    pending: list[type[FleetSettings]] = [FleetSettings]
    names: set[str] = set()
    while pending:
        model = pending.pop()
        pending += model.__subclasses__()
        for field_name, field in model.model_fields.items():
            name = variable_of(field, field_name)
            names |= {name, f"{name}_FILE"}
    return names


def _refuse_unknown_names() -> None:
    names = known_names()
    for name in sorted(_given_names()):
        if name.startswith("SFVOPI_") and name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; `sfvopi settings` lists all"
            raise SettingsError(f"{name} is not a setting{hint}")


def _given_names() -> Iterator[str]:
    yield from os.environ
    for line in read_env_file().splitlines():
        name, equals, _ = line.removeprefix("export ").partition("=")
        if equals and not name.lstrip().startswith("#"):
            yield name.strip()


def _lines(model: type[FleetSettings], error: ValidationError) -> Iterator[str]:
    variables = {name: variable_of(field, name) for name, field in model.model_fields.items()}
    for fault in error.errors(include_url=False, include_input=False):
        where = str(fault["loc"][0]) if fault["loc"] else ""
        name = variables.get(where, where)
        message = fault["msg"].removeprefix("Value error, ")
        yield message if message.startswith(name) else f"{name}: {message}"
