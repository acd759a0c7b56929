"""What a local fleet consists of: its processes, their names, command lines and environments. Starts nothing."""

import secrets
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.cli.fleet import nginx
from shared.cli.fleet.environment import child_environment, given_settings, is_given
from shared.cli.fleet.ports import free_port


@dataclass(frozen=True, slots=True)
class Programs:
    """How each process is started. Others than ours are for tests of the supervision itself."""

    gateway: tuple[str, ...] = (sys.executable, "-m", "gateway")
    worker: tuple[str, ...] = (sys.executable, "-m", "worker")
    housekeeping: tuple[str, ...] = (sys.executable, "-m", "worker.housekeeping")


@dataclass(frozen=True, slots=True)
class WebhookUrls:
    """What is pasted into SFVoPI."""

    answer: str
    fallback: str
    hangup: str
    ring: str

    @classmethod
    def at(cls, base: str, secret: str = "") -> "WebhookUrls":
        start = f"{base.rstrip('/')}/webhook/{secret}{'/' if secret else ''}"
        return cls(f"{start}answer", f"{start}fallback", f"{start}hangup", f"{start}ring")


def nobody(process: str, what: str) -> None:
    """Hears of progress, and keeps it to itself."""


@dataclass(kw_only=True)
class FleetPlan:
    """What is wished for; what is left out is made up: ports, secrets, Redis, the folder for logs.

    `env` is for all processes and wins over everything. `keep_settings` lets the settings of our own environment
    and `.env` through (as `sfvopi up` does); else the processes see only what is written here. `on_progress`
    hears of every step: (process, what). Times in seconds; `stop_within_s` is for the drain at the end.

    With `has_nginx`, nginx stands in front on `port`; `media_path` is then direct or relayed. Direct needs it, and so
    does `tls`: the files of a certificate that is good for 127.0.0.1, and of its key.
    """

    gateways: int = 1
    workers: int = 2
    housekeeping: bool = True
    bot: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    internal_host: str = "127.0.0.1"
    internal_port: int = 0  # of the first gateway; each has one
    housekeeping_port: int = 0
    media_path: str = "relayed"
    has_nginx: bool = False
    tls: tuple[Path, Path] | None = None
    redis_url: str = ""
    public_wss_url: str = ""
    webhook_secret: str = ""
    api_token: str = ""
    keep_settings: bool = False
    run_dir: Path | None = None
    ready_within_s: float = 60
    stop_within_s: float = 10
    programs: Programs = Programs()
    on_progress: Callable[[str, str], None] = nobody

    def __post_init__(self) -> None:
        self.folder = Path(self.run_dir or tempfile.mkdtemp(prefix="sfvopi-fleet-")).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        self.internal_port = self.internal_port or free_port()
        further = {name: free_port() for name in self.gateway_names[1:]}
        self.internal_ports = {self.gateway_names[0]: self.internal_port} | further
        self.housekeeping_port = self.housekeeping_port or free_port()
        self.has_nginx = self.has_nginx or self.media_path == "direct" or self.tls is not None
        self.gateway_port = free_port() if self.has_nginx else self.port
        self.token_secret = secrets.token_hex(32)
        self.api_token = self.api_token or secrets.token_urlsafe(24)
        self.generation: dict[str, int] = {}  # how often each process was started
        self.is_restarting = False  # two generations run beside each other

    @property
    def public_url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        """The gateway's internal address."""
        return f"http://127.0.0.1:{self.internal_port}"

    @property
    def urls(self) -> WebhookUrls:
        """The webhooks, on this machine."""
        return WebhookUrls.at(self.public_url, self.webhook_secret)

    @property
    def answer_url(self) -> str:
        return self.urls.answer

    @property
    def fallback_url(self) -> str:
        return self.urls.fallback

    @property
    def hangup_url(self) -> str:
        return self.urls.hangup

    @property
    def gateway_names(self) -> list[str]:
        return ["gateway"] if self.gateways == 1 else [f"gateway-{number}" for number in range(1, self.gateways + 1)]

    def gateway_id(self, name: str) -> str:
        """Two generations of a gateway may listen on one socket: their ids tell them apart."""
        return self._numbered(name)

    def internal_url(self, name: str) -> str:
        """The internal address of a gateway."""
        return f"http://127.0.0.1:{self.internal_ports[name]}"

    @property
    def worker_names(self) -> list[str]:
        return [f"worker-{number}" for number in range(1, self.workers + 1)]

    @property
    def worker_ids(self) -> dict[str, str]:
        """Ids in the registry, by name."""
        return {name: self.worker_id(name) for name in self.worker_names}

    def worker_id(self, name: str) -> str:
        """A worker that is started again is another worker: what the first one left is not its own."""
        return self._numbered(name)

    def _numbered(self, name: str) -> str:
        generation = self.generation.get(name, 1)
        return name if generation == 1 else f"{name}.{generation}"

    def argv(self, name: str) -> Sequence[str]:
        if name == "nginx":
            return nginx.argv(self.write_nginx_configuration())
        if name in self.worker_names:
            return self.programs.worker
        return self.programs.gateway if name in self.gateway_names else self.programs.housekeeping

    def write_nginx_configuration(self) -> Path:
        """What nginx is started with, and reloads."""
        gateways = [f"127.0.0.1:{self.gateway_port}"]  # one socket for all of them
        internal = [f"127.0.0.1:{port}" for port in self.internal_ports.values()]
        listen = f"127.0.0.1:{self.port}"
        return nginx.write_configuration(self.folder / "nginx", listen, gateways, internal, self.tls)

    def log_path(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    @property
    def working_folder(self) -> Path:
        """Where processes run: here, where `.env` is, or where there is none."""
        return Path.cwd() if self.keep_settings else self.folder

    def environment(self, name: str) -> dict[str, str]:
        """The whole environment of one process."""
        set_by_user = given_settings() if self.keep_settings else {}
        made_up = {"SFVOPI_TOKEN_SECRETS": self.token_secret}
        ours = {
            "REDIS_URL": self.redis_url,
            "SFVOPI_API_TOKEN": self.api_token,
            "SFVOPI_GATEWAY_PORT": str(self.gateway_port),
            "SFVOPI_GATEWAY_INTERNAL_PORT": str(self.internal_ports.get(name, self.internal_port)),
            "SFVOPI_GATEWAY_ID": self.gateway_id(name) if name in self.gateway_names else "",
            "SFVOPI_HOUSEKEEPING_PORT": str(self.housekeeping_port),
            "SFVOPI_MEDIA_PATH": self.media_path if self.has_nginx else "",
            "SFVOPI_TRUSTED_PROXIES": "127.0.0.1/32" if self.has_nginx else "",
            "SFVOPI_WEBHOOK_SECRETS": self.webhook_secret,
            "PUBLIC_WSS_URL": self.public_wss_url or f"ws{self.public_url.removeprefix('http')}/ws",
            "SFVOPI_BOT": self.bot,
        }
        given = {k: v for k, v in ours.items() if v}
        for secret in ("SFVOPI_TOKEN_SECRETS", "SFVOPI_WEBHOOK_SECRETS"):  # lists: one may be on its way out
            if is_given(secret, set_by_user):
                made_up.pop(secret, None)
                given.pop(secret, None)
        if name in self.worker_names:
            given["SFVOPI_WORKER_ID"] = self.worker_id(name)
            if (
                self.workers > 1 or self.is_restarting
            ):  # one port, as one machine's worker has it, cannot be that of several
                given |= {"SFVOPI_WORKER_PORT": "0", "SFVOPI_WORKER_ADDRESS": ""}
        return {**made_up, **child_environment(self.keep_settings), **given, **self.env}
