"""A stream's `media` messages look alike but for their audio: the next one is read by comparing it with the last.

What stands around the audio is the same text, so it says the same; what stands in it is base64, which cannot end a
JSON string. Whatever looks otherwise is read in full, by `parse`.
"""

import binascii

from shared.sfvopi.formats import AudioFormat
from shared.sfvopi.messages import MediaReceived
from shared.sfvopi.parse import MAX_MESSAGE_BYTES

_NEVER = "\0"  # no text of JSON begins so


class MediaShape:
    """How one stream's `media` messages look. A fifth of the time that reading JSON takes."""

    def __init__(self, format: AudioFormat) -> None:
        self._format = format
        self._head = _NEVER
        self._tail = ""
        self._begin = self._behind = 0  # characters before the audio, and behind it
        self._sample_width = format.sample_width
        self._stream_id = ""

    def read(self, frame: str | bytes) -> MediaReceived | None:
        """The event of a message that looks like the last; None if it must be read in full."""
        if not isinstance(frame, str) or not frame.startswith(self._head) or not frame.endswith(self._tail):
            return None
        length = len(frame)
        if not self._begin + self._behind < length <= MAX_MESSAGE_BYTES:
            return None
        try:
            payload = binascii.a2b_base64(frame[self._begin : length - self._behind], strict_mode=True)
        except ValueError:
            return None
        if not payload or len(payload) % self._sample_width:
            return None
        return MediaReceived(payload, self._format, self._stream_id)

    def learn(self, frame: str | bytes, event: MediaReceived) -> None:
        """This message was read in full, and is this event."""
        audio = binascii.b2a_base64(event.payload, newline=False).decode("ascii")
        if not isinstance(frame, str) or "\\" in frame or frame.count(audio) != 1:
            return  # escapes, or the audio stands somewhere else as well: nothing is certain
        self._head, _, self._tail = frame.partition(audio)
        self._begin, self._behind = len(self._head), len(self._tail)
        self._stream_id = event.stream_id
