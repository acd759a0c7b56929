"""WebSocket frames as bytes (RFC 6455, section 5.2): where a client's begin and end, and one of ours with text.

Only what is cheap to tell: what a frame may be, and what follows from it, is the business of the protocol behind.
"""

import struct

WHOLE_TEXT = 0x81  # the first byte of a text that is not in fragments, without extensions
MASKED = 0x80
SHORT, MEDIUM = 125, 0xFFFF  # the longest payloads with a length of one and of three bytes


Bounds = tuple[int, int]  # of a frame's payload, behind four bytes of mask; where it ends the next frame begins

NOT_YET: Bounds = (0, 0)  # the bytes that tell are still to come
ODD: Bounds = (-1, -1)  # not masked, or longer than 64 KiB: nothing that a client of ours may send


def bounds(data: bytes, at: int) -> Bounds:
    """Of the client's frame that begins there; its end may be behind the data's."""
    if len(data) - at < 2:
        return NOT_YET
    second = data[at + 1]
    if not second & MASKED:
        return ODD
    length = second & 0x7F
    if length <= SHORT:
        return at + 6, at + 6 + length
    if length == 127:
        return ODD
    if len(data) - at < 4:
        return NOT_YET
    return at + 8, at + 8 + (data[at + 2] << 8 | data[at + 3])


def text_frame(text: str) -> bytes:
    """A whole text as a server sends it."""
    payload = text.encode()
    length = len(payload)
    if length <= SHORT:
        return bytes((WHOLE_TEXT, length)) + payload
    if length <= MEDIUM:
        return struct.pack("!BBH", WHOLE_TEXT, 126, length) + payload
    return struct.pack("!BBQ", WHOLE_TEXT, 127, length) + payload
