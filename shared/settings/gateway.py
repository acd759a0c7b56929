"""Settings of a gateway process."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from shared.networks import Network, is_loopback, parse_networks
from shared.settings.fleet import MOST_PORTS, SHORTEST_KEY, FleetSettings, Weakness, env, split

OPEN_WEBHOOKS = Weakness(
    "SFVOPI_OPEN_WEBHOOKS",
    "webhooks are open: anybody who finds the address can use the bots' time and end calls",
    "set SFVOPI_WEBHOOK_SECRETS, unless something in front lets nobody but the carrier in",
)
SHORT_WEBHOOK_KEY = Weakness(
    "SFVOPI_WEBHOOK_SECRETS",
    f"a secret of fewer than {SHORTEST_KEY} characters can be found by trying: whoever has it can use the bots' time",
    "make one with `openssl rand -hex 32`, and register its URLs before the old one goes",
)
_PATH_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")


class MediaPath(StrEnum):
    """How streams reach their workers where nginx asks `/route`. Without nginx all are relayed."""

    DIRECT = "direct"  # nginx hands the socket to the worker
    RELAYED = "relayed"  # a gateway's leg holds it


class GatewaySettings(FleetSettings):
    """Where the gateway listens, and what the carrier is told."""

    host: str = Field("127.0.0.1", validation_alias=env("SFVOPI_GATEWAY_HOST"))
    port: int = Field(
        3000, ge=0, le=MOST_PORTS, validation_alias=env("SFVOPI_GATEWAY_PORT"), description="Webhooks and streams."
    )
    internal_host: str = Field("127.0.0.1", validation_alias=env("SFVOPI_GATEWAY_INTERNAL_HOST"))
    internal_port: int = Field(
        9000,
        ge=0,
        le=MOST_PORTS,
        validation_alias=env("SFVOPI_GATEWAY_INTERNAL_PORT"),
        description="Route, health, metrics, API.",
    )
    gateway_id: str = Field(
        "", validation_alias=env("SFVOPI_GATEWAY_ID"), description="Default: host name and process."
    )
    webhook_secrets: SecretStr = Field(
        SecretStr(""),
        validation_alias=env("SFVOPI_WEBHOOK_SECRETS"),
        description="One or two, comma separated, 16 characters or more each: only /webhook/<secret>/… answers then. "
        "Must be set unless PUBLIC_WSS_URL is on loopback.",
    )
    open_webhooks: bool = Field(
        False,
        validation_alias=env("SFVOPI_OPEN_WEBHOOKS"),
        description="on: serve without SFVOPI_WEBHOOK_SECRETS. Then anybody who finds the address can use the bots' "
        "time and end calls; set it only where something in front lets nobody but the carrier in. Each start warns.",
    )
    busy_wav: Path | None = Field(
        None,
        validation_alias=env("SFVOPI_BUSY_WAV"),
        description="What a caller hears whom no worker can take: a mono 16-bit WAV. Default: a short English message.",
    )
    hold_wav: Path | None = Field(
        None,
        validation_alias=env("SFVOPI_HOLD_WAV"),
        description="What a caller hears who waits in line, again and again: a mono 16-bit WAV. Default: quiet music.",
    )
    culprit_retries: int = Field(
        1,
        ge=0,
        le=1,
        validation_alias=env("SFVOPI_CULPRIT_RETRIES"),
        description="How many further workers a call gets after its bot has killed one; then it ends with the "
        "apology. 1: a crash may be bad luck. 0: for a fleet in which a crash costs more than one call "
        "is worth.",
    )
    media_path: MediaPath = Field(
        MediaPath.DIRECT,
        validation_alias=env("SFVOPI_MEDIA_PATH"),
        description="Behind nginx: direct (streams go straight to workers) or relayed (through a gateway, which brings "
        "them to another worker when theirs dies). Without nginx all are relayed.",
    )
    keep_call_alive: bool = Field(
        False,
        validation_alias=env("SFVOPI_KEEP_CALL_ALIVE"),
        description="Send keep_call_alive in the answer (in older SFVoPI documents only).",
    )
    bidirectional: bool = Field(
        False,
        validation_alias=env("SFVOPI_BIDIRECTIONAL"),
        description="Send bidirectional in the answer (in older SFVoPI documents only).",
    )
    allowed_sources: str = Field(
        "",
        validation_alias=env("SFVOPI_ALLOWED_SOURCES"),
        description="Networks of the carrier, comma separated: everybody else gets 403 from webhooks and streams. "
        "Empty: whoever knows a secret or has a token.",
    )
    trusted_proxies: str = Field(
        "",
        validation_alias=env("SFVOPI_TRUSTED_PROXIES"),
        description="Networks of the proxies in front of the gateway, comma separated: their X-Forwarded-For says "
        "where a request comes from. Everybody else's is ignored.",
    )
    failures_per_minute: int = Field(
        120,
        ge=0,
        validation_alias=env("SFVOPI_FAILURES_PER_MINUTE"),
        description="Bad tokens, bad secrets and unknown paths of one source, beyond which it gets 429 for them; good "
        "requests are never limited. 0: no limit.",
    )
    most_connections: int = Field(
        10_000,
        gt=0,
        validation_alias=env("SFVOPI_MOST_CONNECTIONS"),
        description="Open at once on the public port, streams included; more are closed unread. The process' limit of "
        "open files lowers it: a relayed stream takes two.",
    )

    @field_validator("allowed_sources", "trusted_proxies")
    @classmethod
    def _are_networks_or_nothing(cls, given: str) -> str:
        parse_networks(given)
        return given

    @property
    def allowed_networks(self) -> tuple[Network, ...]:
        return parse_networks(self.allowed_sources)

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        return parse_networks(self.trusted_proxies)

    @property
    def webhook_keys(self) -> list[str]:
        return split(self.webhook_secrets)

    @property
    def weaknesses(self) -> list[Weakness]:
        found = super().weaknesses
        if not self.webhook_keys and not is_loopback(urlsplit(self.public_wss_url).hostname):
            found.append(OPEN_WEBHOOKS)
        if any(len(key) < SHORTEST_KEY for key in self.webhook_keys):
            found.append(SHORT_WEBHOOK_KEY)
        return found

    @model_validator(mode="after")
    def _carrier_can_reach_us(self) -> Self:
        if not self.public_wss_url:
            raise ValueError(
                "PUBLIC_WSS_URL is not set: give the address of this gateway as the carrier reaches it, "
                "such as wss://bots.example.com/ws"
            )
        url = urlsplit(self.public_wss_url)
        if url.scheme != "wss" and not (url.scheme == "ws" and is_loopback(url.hostname)):
            raise ValueError(
                f"PUBLIC_WSS_URL must start with wss:// (it is {url.scheme or 'no'}://): SFVoPI connects to "
                "nothing else. Put TLS in front (nginx, a tunnel) and give its address; ws:// is for loopback"
            )
        if not url.hostname or url.query or url.fragment:
            raise ValueError("PUBLIC_WSS_URL must be wss://host[:port]/path, without query or fragment")
        if not self.token_keys:
            raise ValueError(
                "SFVOPI_TOKEN_SECRETS is not set: make one with `openssl rand -hex 32` and give the same to "
                "all gateways and workers"
            )
        if not (self.webhook_keys or self.open_webhooks or is_loopback(url.hostname)):
            raise ValueError(
                "SFVOPI_WEBHOOK_SECRETS is not set: anybody who finds the address could use the bots' time and end "
                "calls. Make one with `openssl rand -hex 32`, and register …/webhook/<secret>/answer with SFVoPI; "
                "SFVOPI_OPEN_WEBHOOKS=on serves without one"
            )
        if len(self.webhook_keys) > 2:
            raise ValueError("SFVOPI_WEBHOOK_SECRETS takes at most two: the new one and the old one")
        if not all(_PATH_SEGMENT.fullmatch(key) for key in self.webhook_keys):
            raise ValueError(
                "SFVOPI_WEBHOOK_SECRETS become part of a URL's path: letters, digits and - . _ ~ only, as "
                "`openssl rand -hex 32` makes them"
            )
        return self
