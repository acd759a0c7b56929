"""What REDIS_URL can say, and connection pools to whatever it names. Nothing connects here.

redis://[user:password@]host:port/db · rediss:// (TLS) · unix:///path?db=n
redis+sentinel://[user:password@]host:port,host:port/service/db, rediss+sentinel:// likewise with TLS. The
sentinels' own credentials, if they have any, stand in the query: ?sentinel_username=…&sentinel_password=…
Other options in the query are those of `OPTIONS`. With TLS they hold for sentinels and masters alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import parse_url
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

SENTINEL_PORT = 26379
SENTINEL_SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}  # and whether with TLS
SCHEMES = ("redis", "rediss", "unix", *SENTINEL_SCHEMES)
SENTINELS_OWN = frozenset({"sentinel_username", "sentinel_password"})
ONE_SERVERS_OWN = frozenset({"db", "username", "password"})  # elsewhere they have places of their own in the URL
WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
VERIFICATION = ("required", "optional", "none")


def _yes_or_no(given: str) -> bool:
    return WORDS[given.lower()]


def _verification(given: str) -> str:
    return VERIFICATION[VERIFICATION.index(given)]


# What the query may hold, and what reads it. How answers are decoded and for how many connections there is room is
# the fleet's own: with another encoding its keys could not be read.
OPTIONS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "client_name": str,
        "health_check_interval": float,
        "protocol": int,
        "retry_on_timeout": _yes_or_no,
        "socket_connect_timeout": float,
        "socket_keepalive": _yes_or_no,
        "socket_timeout": float,
        "ssl_ca_certs": str,
        "ssl_ca_data": str,
        "ssl_cert_reqs": _verification,
        "ssl_certfile": str,
        "ssl_check_hostname": _yes_or_no,
        "ssl_ciphers": str,
        "ssl_keyfile": str,
    }
)
REMEDIES = {
    "ssl": "for TLS begin the URL with rediss://",
    "tls": "for TLS begin the URL with rediss://",
    "timeout": "write socket_timeout",
}


class BadAddress(ValueError):
    """REDIS_URL cannot be used. The message never holds the URL: it may hold a password."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A parsed REDIS_URL. With `sentinels`, these are asked where the master of `service` is."""

    url: str = field(repr=False)  # without its options
    scheme: str
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the query, as `OPTIONS` has read them. They win over the fleet's own choice."""

    def pool(self, **options: Any) -> ConnectionPool:
        """A pool of connections with these options of redis-py (socket_timeout, max_connections …)."""
        # None was asked for on purpose: a listener waits for as long as it takes
        options |= {name: value for name, value in self.options.items() if options.get(name, value) is not None}
        if not self.sentinels:
            return ConnectionPool.from_url(self.url, **options)
        asking: dict[str, Any] = {
            name: value for name, value in options.items() if name.startswith(("socket_", "ssl_"))
        }
        asking |= {"username": self.sentinel_username, "password": self.sentinel_password, "ssl": self.tls}
        manager = Sentinel(self.sentinels, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
        return SentinelConnectionPool(  # type: ignore[no-untyped-call]
            self.service, manager, ssl=self.tls, db=self.db, username=self.username, password=self.password, **options
        )


def parse_address(url: str) -> RedisAddress:
    """The address that a REDIS_URL names. Raises `BadAddress` with the remedy."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise BadAddress(f"REDIS_URL must start with one of {', '.join(f'{known}://' for known in SCHEMES)}")
    return _sentinels(url, scheme, rest) if scheme in SENTINEL_SCHEMES else _single(url, scheme)


async def close_pool(pool: ConnectionPool) -> None:
    """Give back all sockets of a pool, those in use and those to its sentinels too."""
    await pool.disconnect(inuse_connections=True)
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _single(url: str, scheme: str) -> RedisAddress:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # its text quotes what it could not read, such as half of a password
        raise BadAddress(
            f"REDIS_URL is not a {scheme}:// address: is the port a number? In a password write %2F %3A %40 for / : @"
        ) from None
    asked = _options(parts.query, scheme, ONE_SERVERS_OWN)
    try:
        options = parse_url(url)
    except ValueError:
        raise BadAddress("REDIS_URL: the database must be a number") from None
    if scheme == "unix" and not parts.path:
        raise BadAddress("REDIS_URL: unix:// needs the path of a socket, as in unix:///run/redis.sock?db=0")
    if scheme != "unix":
        _number(parts.path.strip("/"), "the database")
        if not parts.hostname:
            raise BadAddress(f"REDIS_URL: {scheme}:// needs a host, as in {scheme}://127.0.0.1:6379/0")
    kept = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name in ONE_SERVERS_OWN])
    return RedisAddress(
        url=parts._replace(query=kept).geturl(),
        scheme=scheme,
        db=int(options.get("db") or 0),
        username=options.get("username"),
        password=options.get("password"),
        tls=scheme == "rediss",
        options=asked,
    )


def _options(query: str, scheme: str, others: frozenset[str]) -> dict[str, Any]:
    """What the query holds of `OPTIONS`; it may hold `others`, too. Names what it may not hold, never a value."""
    found: dict[str, Any] = {}
    for name, values in parse_qs(query, keep_blank_values=True).items():
        if name in others:
            continue
        if name not in OPTIONS:
            shown = name if name.isidentifier() else "in its query"  # else it may be half of a password
            remedy = REMEDIES.get(name, f"known are {', '.join(OPTIONS)}")
            raise BadAddress(f"REDIS_URL: {scheme}:// does not know the option {shown}: {remedy}")
        if name.startswith("ssl_") and not scheme.startswith("rediss"):
            raise BadAddress(f"REDIS_URL: {name} needs TLS: begin the URL with {_tls(scheme)}")
        if name.startswith("socket_keep") and scheme == "unix":
            raise BadAddress(f"REDIS_URL: {name} is not for unix:// sockets; leave it out")
        try:
            found[name] = OPTIONS[name](values[-1])
        except (ValueError, KeyError):
            raise BadAddress(f"REDIS_URL: the value of {name} cannot be read") from None
    return found


def _tls(scheme: str) -> str:
    return "rediss+sentinel://" if scheme in SENTINEL_SCHEMES else "rediss://"


def _sentinels(url: str, scheme: str, rest: str) -> RedisAddress:
    rest, _, query = rest.partition("?")
    hosts, _, path = rest.partition("/")
    credentials, _, hosts = hosts.rpartition("@")
    username, _, password = credentials.partition(":")
    service, _, db = path.strip("/").partition("/")
    sentinels = tuple(_host_and_port(host) for host in hosts.split(",") if host)
    if not sentinels or not service:
        raise BadAddress("REDIS_URL must be redis+sentinel://host:26379,host:26379/service/db")
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    return RedisAddress(
        url=url,
        scheme=scheme,
        sentinels=sentinels,
        service=unquote(service),
        db=_number(db, "the database"),
        username=unquote(username) or None,
        password=unquote(password) or None,
        sentinel_username=asked.get("sentinel_username"),
        sentinel_password=asked.get("sentinel_password"),
        tls=SENTINEL_SCHEMES[scheme],
        options=_options(query, scheme, SENTINELS_OWN),
    )


def _host_and_port(given: str) -> tuple[str, int]:
    host, colon, port = given.rpartition(":")
    if not colon or given.endswith("]"):  # no port; a bare IPv6 address stands in brackets
        host, port = given, str(SENTINEL_PORT)
    if not host:
        raise BadAddress("REDIS_URL: a sentinel without a host; write host:26379")
    return host.strip("[]"), _number(port, "a sentinel's port")


def _number(given: str, what: str) -> int:
    if given and not given.isdecimal():
        raise BadAddress(f"REDIS_URL: {what} must be a number")
    return int(given or 0)
