"""The client: many calls in one lean loop over epoll, no asyncio, no library between it and its sockets.

It says of itself how late it sent each frame: a run in which it was late measured the client, or the machine. Linux.
"""

import gc
import heapq
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.carrier.load import wire
from shared.carrier.load.call import Call, CallLost
from shared.sfvopi.answer import StreamAnswer
from shared.sfvopi.errors import WebhookRejected
from shared.sfvopi.webhooks import AnswerWebhook, HangupWebhook

MOST_UNSENT = 64 * 1024  # of one stream: a subject that reads nothing for three seconds; then frames are dropped
_READ = 65536


@dataclass(frozen=True, slots=True)
class Target:
    """Where a subject is. `route_url` is the gateway's answer to nginx: whom the stream goes to, past the gateway."""

    answer_url: str
    hangup_url: str
    route_url: str = ""


class _Connection:
    """A socket with what is to be sent on it, and who takes what comes: (data, now)."""

    def __init__(self, netloc: str, data: bytes, take: Callable[[bytes, float], None]) -> None:
        host, _, port = netloc.partition(":")
        self.unsent = data
        self.take = take
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex((host, int(port or 80)))
        self.fd = self.socket.fileno()
        self.waits_to_write = True


class Load:
    """`place` calls, `run_until` a moment, look at `calls`; `hang_up` what is to end. A context manager."""

    def __init__(self, target: Target, call: type[Call] = Call) -> None:
        self._call = call
        self.calls: list[Call] = []
        self.lags: list[tuple[float, float]] = []  # (sent at, late by) of every frame
        self.dropped = 0  # frames that a subject did not read
        self._target = target
        self._prefix = f"bench-{time.time_ns() // 1_000_000:x}"
        self._poll = select.epoll()
        self._open: dict[int, _Connection] = {}
        self._streams: dict[Call, _Connection] = {}
        self._due: list[tuple[float, int, Call]] = []

    def __enter__(self) -> "Load":
        gc.collect()
        gc.freeze()
        gc.disable()
        return self

    def __exit__(self, *error: object) -> None:
        for connection in list(self._open.values()):
            self._close(connection)
        self._poll.close()
        gc.enable()
        gc.unfreeze()

    @property
    def live(self) -> list[Call]:
        """The calls that are up."""
        return [call for call in self.calls if call.is_live]

    def place(self) -> Call:
        """Begin a call, as the carrier does: the answer webhook first."""
        number, now = len(self.calls), time.monotonic()
        call = self._call(number, f"{self._prefix}-{number}", now)
        self.calls.append(call)
        webhook = AnswerWebhook(call.call_id, from_number="+919876543210", to_number="+918000000001")
        fields = {**webhook.to_fields(), "direction": "INBOUND", "call_status": "IN_PROGRESS"}
        request = wire.post(self._target.answer_url, dict(fields))
        self._ask(call, urlsplit(self._target.answer_url).netloc, request, self._answered)
        return call

    def hang_up(self, call: Call) -> None:
        """End a call: the stream is closed, and the webhook says so."""
        if call.ended_at is not None:
            return
        call.ended_at = time.monotonic()
        connection = self._streams.pop(call, None)
        if connection is not None:
            self._send(connection, wire.frame((1000).to_bytes(2, "big"), wire.CLOSE))
            self._close(connection)
        webhook = HangupWebhook(call.call_id, call_status="COMPLETED", hangup_cause="16")
        request = wire.post(self._target.hangup_url, dict(webhook.to_fields()))
        self._connect(urlsplit(self._target.hangup_url).netloc, request, lambda data, now: None)

    def run_until(self, end: float) -> None:
        """Send what is due and take what comes, until then."""
        clock, due, poll = time.monotonic, self._due, self._poll.poll
        while (now := clock()) < end:
            while due and due[0][0] <= now:
                at, number, call = heapq.heappop(due)
                if (stream := self._streams.get(call)) is not None:
                    self.lags.append((now, now - at))
                    self._send(stream, call.next_frame(now))
                    heapq.heappush(due, (call.due_at, number, call))
                now = clock()
            wake_at = min(due[0][0], end) if due else end
            for fd, events in poll(max(0.0, wake_at - clock())):
                if (connection := self._open.get(fd)) is not None:
                    self._serve(connection, events)

    # -- the way to a stream

    def _ask(self, call: Call, netloc: str, request: bytes, then: Callable[[Call, wire.Response], None]) -> None:
        """One request; a stream's upgrade keeps its connection."""
        received = b""

        def take(data: bytes, _: float) -> None:
            nonlocal received
            received += data
            response = wire.read_response(received) if data else None
            if response is None and data:
                return
            if response is None or response.status != 101:
                self._close(connection)
            if response is None:
                self._fail(call, "the connection was closed")
            elif call.ended_at is None:
                then(call, response)

        connection = self._connect(netloc, request, take)
        if then == self._upgraded:
            self._streams[call] = connection

    def _answered(self, call: Call, response: wire.Response) -> None:
        if response.status != 200:
            return self._fail(call, f"the answer webhook got {response.status}")
        try:
            url = StreamAnswer.from_json(wire.json_of(response)).url
        except (WebhookRejected, ValueError) as error:
            return self._fail(call, f"the answer webhook got no stream: {error}")
        if not self._target.route_url:
            return self._open_stream(call, url, urlsplit(url).netloc)
        request = wire.get(self._target.route_url, {"X-Original-URI": urlsplit(url).path})

        def routed(call: Call, response: wire.Response) -> None:
            if "x-worker" not in response.headers:
                return self._fail(call, f"the route got {response.status}")
            return self._open_stream(call, url, response.headers["x-worker"])

        return self._ask(call, urlsplit(self._target.route_url).netloc, request, routed)

    def _open_stream(self, call: Call, url: str, netloc: str) -> None:
        self._ask(call, netloc, wire.upgrade(url), self._upgraded)

    def _upgraded(self, call: Call, response: wire.Response) -> None:
        if response.status != 101:
            self._fail(call, f"the stream got {response.status}")
            return
        stream, now = self._streams[call], time.monotonic()
        stream.take = lambda data, now: self._receive(call, stream, data, now)
        self._send(stream, call.start(now))
        heapq.heappush(self._due, (call.due_at, call.number, call))
        if response.rest:
            self._receive(call, stream, response.rest, now)

    def _receive(self, call: Call, stream: _Connection, data: bytes, now: float) -> None:
        try:
            if not data:
                raise CallLost("the stream's connection was closed")
            if answer := call.receive(data, now):
                self._send(stream, answer)
        except CallLost as lost:
            self._fail(call, str(lost))

    def _fail(self, call: Call, why: str) -> None:
        if call.ended_at is None:
            call.failure, call.ended_at = why, time.monotonic()
        if (stream := self._streams.pop(call, None)) is not None:
            self._close(stream)

    # -- sockets

    def _connect(self, netloc: str, data: bytes, take: Callable[[bytes, float], None]) -> _Connection:
        connection = _Connection(netloc, data, take)
        self._open[connection.fd] = connection
        self._poll.register(connection.fd, select.EPOLLIN | select.EPOLLOUT)
        return connection

    def _serve(self, connection: _Connection, events: int) -> None:
        if events & select.EPOLLOUT:
            self._send(connection, b"")
        if events & ~select.EPOLLOUT and connection.fd in self._open:
            try:
                data = connection.socket.recv(_READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            connection.take(data, time.monotonic())
            if not data:
                self._close(connection)

    def _send(self, connection: _Connection, data: bytes) -> None:
        if len(connection.unsent) > MOST_UNSENT:
            self.dropped += 1
        else:
            connection.unsent += data
        try:
            sent = connection.socket.send(connection.unsent) if connection.unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # whoever reads from it finds out
        connection.unsent = connection.unsent[sent:]
        if bool(connection.unsent) != connection.waits_to_write and connection.fd in self._open:
            connection.waits_to_write = not connection.waits_to_write
            wanted = select.EPOLLIN | (select.EPOLLOUT if connection.waits_to_write else 0)
            self._poll.modify(connection.fd, wanted)

    def _close(self, connection: _Connection) -> None:
        if self._open.pop(connection.fd, None) is not None:
            self._poll.unregister(connection.fd)
            connection.socket.close()
