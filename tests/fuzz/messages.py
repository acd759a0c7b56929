"""What a hostile carrier says on a stream: good messages, changed in one or two ways, and things that are no messages.

Pure: all chance comes from the generator that is given. A list of parts is a message in fragments.
"""

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from typing import Any

Message = str | bytes | list[str]

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, -0.0, 2**63, 10**400, "", " ", "\x00", "\ud800", "é" * 300, "𝄞", "‮", "%s%n",
    "../../etc/passwd", "{}", "[]", [], {}, [[]], {"a": {}}, "A" * 5000, "NaN", "1e999", "\r\nX: y", "<script>",
)  # fmt: skip
WORDS = ("start", "media", "dtmf", "clearedAudio", "playedStream", "playAudio", "clearAudio", "stop", "connected", "")
TYPES = ("audio/PCMA", "audio/PCMU", "audio/x-l16", "audio/x-mulaw", "audio/opus", "AUDIO/pcma; rate=1", "", "x" * 300)


def good(rng: random.Random) -> dict[str, Any]:
    """A message as the carrier sends it."""
    stream = f"SFV_{rng.randrange(4)}"
    return rng.choice(
        [
            {"event": "start", "streamId": stream, "callId": f"c{rng.randrange(9)}"},
            {"event": "start", "start": {"streamId": stream, "callId": "c"}},
            media(rng, 160, stream),
            media(rng, 160, stream),
            {"event": "dtmf", "streamId": stream, "digit": rng.choice("0123456789*#AD")},
            {"event": "dtmf", "dtmf": {"digit": "5"}},
            {"event": "clearedAudio", "sequenceNumber": rng.randrange(10)},
            {"event": "playedStream", "name": rng.choice(["greeting", "x", "sfvopi:1"])},
        ]
    )


def media(rng: random.Random, size: int, stream: str = "s") -> dict[str, Any]:
    payload = base64.b64encode(rng.randbytes(size)).decode()
    return {
        "event": "media",
        "streamId": stream,
        "media": {"payload": payload, "contentType": "audio/PCMA", "sampleRate": 8000},
    }


# -- changes of a message that stay JSON


def a_field_is_odd(rng: random.Random) -> Message:
    message = good(rng)
    where = message
    while rng.random() < 0.5 and any(isinstance(value, dict) for value in where.values()):
        where = next(value for value in where.values() if isinstance(value, dict))
    where[rng.choice([*where, "event", "extra"])] = rng.choice(ODD)
    return dump(message)


def a_field_is_missing(rng: random.Random) -> Message:
    message = good(rng)
    del message[rng.choice(list(message))]
    return dump(message)


def another_event(rng: random.Random) -> Message:
    return dump({**good(rng), "event": rng.choice([*WORDS, "START", "media ", "événement"])})


def wrong_codec(rng: random.Random) -> Message:
    message = media(rng, rng.choice([0, 1, 159, 160, 161, 320, 4000]))
    message["media"] |= {"contentType": rng.choice(TYPES), "sampleRate": rng.choice([8000, "8000", 16000, 0, -1, "x"])}
    return dump(message)


def bad_base64(rng: random.Random) -> Message:
    message = media(rng, 160)
    payload = message["media"]["payload"]
    at = rng.randrange(len(payload))
    broken = (
        payload[:at] + rng.choice("=%\n é-_") + payload[at + 1 :],
        payload[:at],
        payload + "=",
        "=" * 8,
        "A" * 40_001,
    )
    message["media"]["payload"] = rng.choice(broken)
    return dump(message)


def large(rng: random.Random) -> Message:
    """Up to what a stream may carry; a byte more, and it is closed."""
    return dump(media(rng, rng.choice([10_000, 40_000, 48_000])))


def deep(rng: random.Random) -> Message:
    depth = rng.choice([10, 900, 1100, 5000])
    opening, closing = rng.choice([("[", "]"), ('{"a":', "}")])
    inner = opening * depth + "0" + closing * depth
    return rng.choice([inner, f'{{"event":"media","media":{inner}}}', opening * depth])


def many_fields(rng: random.Random) -> Message:
    return dump({**good(rng), **{f"k{number}": number for number in range(rng.choice([50, 1500]))}})


def doubled_keys(rng: random.Random) -> Message:
    text = dump(good(rng))
    return text[:-1] + f',"event":{json.dumps(rng.choice(WORDS))}}}'


def numbers(rng: random.Random) -> Message:
    digits = rng.choice(["9" * 4000, "9" * 5000, "1e400", "-0", "0x10", "1_0", "NaN", "Infinity", "٣"])
    return f'{{"event":"clearedAudio","sequenceNumber":{digits}}}'


# -- what is no message


def cut_off(rng: random.Random) -> Message:
    text = dump(good(rng))
    return text[: rng.randrange(len(text))]


def flipped(rng: random.Random) -> Message:
    characters = list(dump(good(rng)))
    for _ in range(rng.randrange(1, 6)):
        characters[rng.randrange(len(characters))] = rng.choice(string.printable + "é\u2028\x00")
    return "".join(characters)


def noise(rng: random.Random) -> Message:
    return "".join(chr(rng.choice([rng.randrange(32), rng.randrange(128), rng.randrange(0xD800)])) for _ in range(50))


def binary(rng: random.Random) -> Message:
    return rng.choice([b"", rng.randbytes(rng.randrange(300)), dump(good(rng)).encode(errors="replace")])


def fragments(rng: random.Random) -> Message:
    text = dump(rng.choice([good(rng), media(rng, 2000)]))
    cuts = sorted(rng.randrange(len(text)) for _ in range(rng.randrange(1, 30)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


KINDS: tuple[Callable[[random.Random], Message], ...] = (
    a_field_is_odd, a_field_is_odd, a_field_is_missing, another_event, wrong_codec, bad_base64, large, deep,
    many_fields, doubled_keys, numbers, cut_off, flipped, noise, binary, fragments,
    lambda rng: dump(good(rng)), lambda rng: dump(good(rng)),
)  # fmt: skip


def messages(rng: random.Random) -> Iterator[Message]:
    """Without end. Nothing here closes a stream; `last_words` do."""
    while True:
        yield rng.choice(KINDS)(rng)


def dump(message: Any) -> str:
    """As JSON; a lone surrogate stays an escape, as a peer can write it."""
    return json.dumps(message, ensure_ascii=True)


# -- bytes below the messages, each of which ends its stream


def last_words(rng: random.Random) -> bytes:
    """Frames that break the protocol."""
    return rng.choice(
        [
            b"\x81\x05hello",  # not masked
            b"\xf1\x80\x00\x00\x00\x00",  # reserved bits
            b"\x83\x80\x00\x00\x00\x00",  # a reserved opcode
            b"\x80\x80\x00\x00\x00\x00",  # a continuation of nothing
            b"\x89\xfe\x01\x00\x00\x00\x00\x00" + b"p" * 256,  # a ping that is too long
            b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",  # a message of 8 EiB
            b"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00" + b"x" * 65_537,  # a byte too many
            b"\x81\x82\x00\x00\x00\x00\xff\xfe",  # text that is not UTF-8
            b"\x01\x80\x00\x00\x00\x00" * 2,  # a message begun within another
            b"\x88\x81\x00\x00\x00\x00x",  # a close with half a code
            b"\x88\x82\x00\x00\x00\x00\x03\xed",  # a close with a code that may not be sent
            b"GET / HTTP/1.1\r\n\r\n",
            rng.randbytes(200),
        ]
    )
