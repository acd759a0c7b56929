"""The carrier's webhooks over HTTP: the answer inside its limit, the hangup that nobody waits for.

Judges answers as a carrier would: anything but HTTP 200 with a legal Stream JSON is no answer.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from shared.networks import is_loopback
from shared.sfvopi.answer import StreamAnswer
from shared.sfvopi.errors import WebhookRejected
from shared.version import VERSION

Fields = Mapping[str, str | int | float]
AGENT = f"sfvopi-carrier/{VERSION}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one answer webhook: an answer, or why there is none. status None: no HTTP answer at all."""

    answer: StreamAnswer | None = None
    status: int | None = None
    why: str = ""


def open_http(*urls: str) -> httpx2.AsyncClient:
    """A client for these webhooks; never by a proxy to this machine itself."""
    hosts = [urlsplit(url) for url in urls if url]
    # Loading the machine's certificates takes longer than a whole call to localhost: only for TLS.
    needs_tls = any(host.scheme == "https" for host in hosts)
    return httpx2.AsyncClient(
        verify=ssl.create_default_context() if needs_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        trust_env=not all(is_loopback(host.hostname) for host in hosts),
        headers={"User-Agent": AGENT},
    )


async def ask_answer(http: httpx2.AsyncClient, url: str, method: str, fields: Fields, limit_s: float) -> Asked:
    """Ask where the call's stream shall go. Raises nothing: what is wrong stands in the result."""
    try:
        async with asyncio.timeout(limit_s):
            response = await _send(http, url, method, fields)
    except TimeoutError:
        return Asked(why=f"no answer within {limit_s:g} s")
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        return Asked(why=f"not reached ({type(error).__name__}: {error})")
    if response.status_code != httpx2.codes.OK:
        return Asked(status=response.status_code, why=f"HTTP {response.status_code}")
    try:
        return Asked(answer=read_answer(response.json()), status=response.status_code)
    except WebhookRejected as error:
        return Asked(status=response.status_code, why=str(error))
    except (ValueError, RecursionError):
        return Asked(status=response.status_code, why="the answer is not JSON")


def read_answer(answer: object) -> StreamAnswer:
    """Read a Stream JSON strictly. Raises `WebhookRejected` that says what is wrong."""
    stream = answer.get("stream") if isinstance(answer, dict) else None
    if isinstance(stream, dict) and not stream.get("url"):
        raise WebhookRejected(400, "the answer has no stream.url")
    read = StreamAnswer.from_json(answer)
    if why := judge_stream_url(read.url):
        raise WebhookRejected(400, f"stream.url {why}")
    return read


def judge_stream_url(url: str) -> str:
    """What is wrong with a stream URL; empty if nothing is."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        parts.port  # noqa: B018 - it raises for a port that is none
    except ValueError as error:
        return f"is no URL ({error})"
    if parts.scheme not in ("ws", "wss") or not host:
        return "is no wss:// URL"
    if parts.scheme == "ws" and not is_loopback(host):
        return "is ws:// and not on loopback: SFVoPI connects to wss:// only"
    return ""


async def tell(http: httpx2.AsyncClient, url: str, method: str, fields: Fields, limit_s: float) -> int | None:
    """Send a webhook whose response does not matter. Returns its HTTP status, or None if there was none."""
    try:
        async with asyncio.timeout(limit_s):
            return (await _send(http, url, method, fields)).status_code
    except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return None


async def _send(http: httpx2.AsyncClient, url: str, method: str, fields: Fields) -> httpx2.Response:
    if method == "GET":
        return await http.get(url, params=dict(fields), timeout=None)
    return await http.post(url, json=dict(fields), timeout=None)
