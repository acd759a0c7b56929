"""What strangers send to the public port over HTTP, as bytes: broken requests, odd webhooks, bad upgrades. Pure."""

import json
import random
from typing import Any

from tests.fuzz.messages import ODD

NAMES = ("answer", "fallback", "hangup", "ring", "", "ANSWER", "answer/", "%2e%2e", "answer%00", "../metrics")
FIELDS = ("call_uuid", "request_uuid", "from", "to", "direction", "call_status", "duration", "answered_at", "odd")
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
HEADERS = (
    "X-Forwarded-For: 127.0.0.1", "X-Failed-Worker: 127.0.0.1:1", "X-Original-URI: /ws/x.y", "X-Worker: 127.0.0.1:1",
    "X-SFVoPI-Path: relayed", "Content-Length: -1", "Content-Length: 99999999999", "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip", "Expect: 100-continue", "Host: a\r\nHost: b", "X-\xe9: \xff", "Cookie: " + "x" * 9000,
    "Content-Type: text/xml", "Accept-Encoding: *", "Connection: upgrade, close", "Upgrade: h2c", "Range: bytes=0-",
    ": nameless", "Folded: a\r\n b", "X-Call-UUID: \x7f", "Content-Encoding: gzip", "Authorization: Bearer x",
)  # fmt: skip


def webhook_fields(rng: random.Random, call_id: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"call_uuid": call_id, "from": "+919800000000", "to": "+918000000009"}
    for _ in range(rng.randrange(4)):
        fields[rng.choice(FIELDS)] = rng.choice(ODD)
    return fields


def request(rng: random.Random, secret: str, call_id: str) -> bytes:
    """One request, with all that belongs to it or not."""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 2000))
    if kind == 1:
        return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200)  # TLS to a plain port
    if kind in (2, 3):
        return upgrade(rng)
    path = f"/webhook/{rng.choice([secret, secret, secret, 'guess', ''])}/{rng.choice(NAMES)}"
    body = json.dumps(webhook_fields(rng, call_id)).encode()
    if kind == 4:
        body = rng.choice([b"", body[:-1], b"[" * 5000, b"\xff\xfe", b"null", b"9" * 5000, body + b"x" * 20_000, b"{}"])
    if kind == 5:
        path += "?" + rng.choice(["call_uuid=%ff", "call_uuid=a&call_uuid=b", "&" * 500, "a=" + "b" * 3000, "=&=;%"])
    method = rng.choice(["POST", "POST", "POST", "GET", "PUT", "HEAD", "OPTIONS", "CONNECT", "get", "TRACE"])
    extra = "".join(f"{rng.choice(HEADERS)}\r\n" for _ in range(rng.choice([0, 0, 0, 1, 2, 200])))
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode("latin-1") + body


def upgrade(rng: random.Random) -> bytes:
    """A WebSocket that must not be had."""
    token = rng.choice(["x", "x.y", "A" * 2000, "%00", "%ff.%fe", "\xe9", "..", "a b", "x" * 60 + "." + "y" * 22, ""])
    extra = "".join(f"{rng.choice(HEADERS)}\r\n" for _ in range(rng.choice([0, 1, 3, 150])))
    lines = rng.choice([UPGRADE, UPGRADE.replace("13", "12"), UPGRADE.replace("dGhl", "x"), UPGRADE * 2])
    return f"GET {rng.choice(['/ws/', '/ws', '/', '//'])}{token} HTTP/1.1\r\nHost: x\r\n{lines}{extra}\r\n".encode(
        "latin-1"
    )
