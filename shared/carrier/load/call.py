"""One call as the load client has it: frames out, audio in, what became of it. Owns no socket and no clock: bytes and
time are parameters, so that the loop around it (`load.py`) is all that waits."""

import json
from collections import deque
from dataclasses import dataclass

from shared.carrier.load import wire
from shared.carrier.load.playout import CarrierPlayout
from shared.carrier.load.script import FRAME_S, frames_of_call, quiet_frames
from shared.carrier.load.turns import Turns

PREBUFFER_S = 0.06
BYTES_PER_S = 8000  # A-law
_TAIL = b'","contentType":"audio/PCMA","sampleRate":8000}}'


class CallLost(Exception):
    """The subject ended the stream; the message says how."""


@dataclass(eq=False)
class Call:
    """Everything that is known of one call; the moments are of a monotonic clock."""

    number: int
    call_id: str
    asked_at: float
    started_at: float | None = None
    first_audio_at: float | None = None
    ended_at: float | None = None
    failure: str = ""
    due_at: float = 0.0  # of the next frame

    def __post_init__(self) -> None:
        self.turns = Turns()
        self.playout = CarrierPlayout(PREBUFFER_S)
        self._reader = wire.FrameReader()
        self._script = frames_of_call(self.number)
        self._stream_id = f"SFV_STRM_BENCH_{self.number:08d}"
        self._checkpoints: deque[tuple[float, str]] = deque()
        head = f'{{"event":"media","streamId":"{self._stream_id}","media":{{"payload":"'.encode()
        whole = head + quiet_frames()[0].payload + _TAIL  # all are as long
        self._head = wire.frame(whole)[: -len(whole)] + head

    @property
    def is_live(self) -> bool:
        return self.started_at is not None and self.ended_at is None

    # -- out

    def start(self, now: float) -> bytes:
        """The upgrade was accepted."""
        self.started_at, self.due_at = now, now + FRAME_S
        return _text({"event": "start", "streamId": self._stream_id, "callId": self.call_id})

    def next_frame(self, now: float) -> bytes:
        """The frame that is due, and what else is to be said by now."""
        frame = next(self._script)
        self.due_at += FRAME_S
        self._look_at_playout(now)
        if frame.is_first:
            self.turns.began(now, bot_is_audible=self.playout.is_audible(now))
        elif frame.is_last:
            self.turns.ended(now)
            self.playout.asked(now)
        data = self._head + frame.payload + _TAIL
        while self._checkpoints and self._checkpoints[0][0] <= now:
            data += _text({"event": "playedStream", "name": self._checkpoints.popleft()[1]})
        return data

    # -- in

    def receive(self, data: bytes, now: float) -> bytes:
        """What has come; returns what is to be answered at once. Raises `CallLost`."""
        answer = b""
        for opcode, payload in self._reader.feed(data):
            if opcode == wire.TEXT:
                answer += self._take(json.loads(payload), now)
            elif opcode == wire.PING:
                answer += wire.frame(payload, wire.PONG)
            elif opcode == wire.CLOSE:
                raise CallLost(f"the stream was closed with {int.from_bytes(payload[:2], 'big')}")
        return answer

    def _take(self, message: dict[str, object], now: float) -> bytes:
        self._look_at_playout(now)
        match message:
            case {"event": "playAudio", "media": {"payload": str(payload)}}:
                if self.first_audio_at is None:
                    self.first_audio_at = now
                self.turns.audio(now)
                self.playout.receive((len(payload) * 3 // 4 - payload.count("=")) / BYTES_PER_S, now)
            case {"event": "clearAudio"}:
                self.turns.cleared(now)
                self.playout.clear(now)
                self._checkpoints.clear()
                return _text({"event": "clearedAudio", "sequenceNumber": message.get("sequenceNumber", 0)})
            case {"event": "checkpoint", "name": str(name)}:
                self._checkpoints.append((max(now, self.playout.dry_at), name))
        return b""

    def _look_at_playout(self, now: float) -> None:
        if not self.playout.is_audible(now):
            self.turns.fell_silent(self.playout.dry_at)


def _text(message: dict[str, object]) -> bytes:
    return wire.frame(json.dumps(message).encode())
