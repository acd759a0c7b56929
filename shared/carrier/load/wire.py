"""HTTP and WebSocket as far as a lean client needs them: bytes in, bytes out; no sockets, no clock.

Frames are masked with a key of zeros, which the protocol allows: the server has its work with it, we have none.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
_NO_MASK = bytes(4)
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A client's frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, 0x80 | size)) + _NO_MASK + payload
    return struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size) + _NO_MASK + payload


def post(url: str, body: dict[str, object], *, keeps_open: bool = False) -> bytes:
    """A request with JSON; the last one of its connection, unless that is kept open."""
    parts, data = urlsplit(url), json.dumps(body).encode()
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    last = "" if keeps_open else "Connection: close\r\n"
    return f"{head}Content-Length: {len(data)}\r\n{last}\r\n".encode() + data


def get(url: str, headers: dict[str, str]) -> bytes:
    parts = urlsplit(url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{lines}Connection: close\r\n\r\n".encode()


def upgrade(url: str) -> bytes:
    """A request to become a WebSocket, which offers no compression: a telephone company's client has no use for it."""
    parts = urlsplit(url)
    return (
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n"
    ).encode()


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, and the bytes behind its head that are not its body (those of the WebSocket)."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes = b""


def read_response(data: bytes) -> Response | None:
    """The response, once it is all there."""
    head, gap, rest = data.partition(b"\r\n\r\n")
    if not gap:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    size = int(headers.get("content-length", 0))
    if len(rest) < size:
        return None
    return Response(int(first.split()[1]), headers, rest[:size], rest[size:])


@dataclass(slots=True)
class FrameReader:
    """A server's frames out of a stream of bytes. Continuations are not put together: no server here sends any."""

    _kept: bytes = field(default=b"")

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Opcode and payload of each frame that is whole by now."""
        data = self._kept + data if self._kept else data
        at, end = 0, len(data)
        while end - at >= 2:
            size, head = data[at + 1] & 0x7F, 2
            if size == 126:
                head = 4
                if end - at < head:
                    break
                size = int.from_bytes(data[at + 2 : at + 4], "big")
            elif size == 127:
                head = 10
                if end - at < head:
                    break
                size = int.from_bytes(data[at + 2 : at + 10], "big")
            if end - at < head + size:
                break
            yield data[at] & 0x0F, data[at + head : at + head + size]
            at += head + size
        self._kept = data[at:]


def json_of(response: Response) -> object:
    """The body as JSON. Raises ValueError."""
    return json.loads(response.body)
