"""What can stand in a call's timeline.

Texts (`text`, `heard`), digits (`digit`) and what tools are asked and answer (`arguments`, `answer`) are in an entry's
data only when transcripts are on.
"""

from enum import StrEnum


class TimelineEvent(StrEnum):
    """Names of timeline entries, with the data that each carries."""

    WEBHOOK = "webhook"  # webhook, result, ms
    RESERVED = "reserved"  # worker_id; locally (true: by a gateway alone, while the registry was away)
    REFUSED = "refused"  # reason; bot ("quarantined": no worker takes its calls)
    HELD = "held"  # place: the caller waits in line, at the gateway that says so
    ROUTED = "routed"  # worker_id, path (relayed | direct)
    REATTACHED = "reattached"  # worker_id, lost (worker_id), code of that stream's end, ms since then
    JUDGED = "judged"  # verdict (suspect | convicted), outlived: the workers (worker_id) that died of this call
    UPGRADED = "upgraded"  # header names of the stream's upgrade, call_uuid_header (same | absent | different)
    ATTACHED = "attached"  # worker_id, epoch, how (attached)
    STREAM_STARTED = "stream_started"  # stream_id, repeated (bool)
    FIRST_AUDIO = "first_audio"  # ms since `start`
    CALLER_SAID = "caller_said"  # words (count), text
    BOT_SAID = "bot_said"
    """words (count), text. If not all of it was heard: cut (true: by the caller or the call's end) or failed (true: by
    the voice), heard_words (count) and heard: what surely was; heard_s: for how long what follows that was heard."""
    TOOL = "tool"
    """name, ms, outcome (ok, raised, timeout, cancelled, unknown: the bot has none of that name; unfinished: it had no
    result when the call ended), exception (its type), arguments, answer"""
    INTERRUPTED = "interrupted"  # ms from first loud frame to clearAudio
    DIGIT = "digit"  # digit
    CHECKPOINT_PLAYED = "checkpoint_played"  # name, ms since it was sent
    AUDIO_CLEARED = "audio_cleared"  # sequence_number, ms since it was sent
    WIRE = "wire"  # messages by event, bytes, longest gap, what was dropped; once a stream
    PROVIDER_ERROR = "provider_error"  # provider, fault, caller (what they were doing: only who waits is given up)
    TURN = "turn"  # stt_ms, llm_ms, tts_ms, total_ms
    DETACHED = "detached"  # code of the close
    ADOPTED = "adopted"  # worker_id, epoch, how (adopted | replaced): a returning stream, or a second one
    HANDED_OVER = "handed_over"  # worker_id: the session ends here and goes on there
    SUPERSEDED = "superseded"  # worker_id: the call was attached there while this session's process slept
    RESUMED = "resumed"  # messages (count), unheard (sentences): a new session goes on where the last one was
    AFRESH = "afresh"  # why (see worker/resumption.py): a new session begins anew
    REFUSED_STREAM = "refused_stream"  # why
    ENDING = "ending"  # reason; the session begins to end
    ENDED = "ended"  # reason, result
    CARRIER_ENDED = "carrier_ended"  # status, duration_s, cause
