"""Why a call ended: one reason from a closed set, and the result that follows from it.

The reason decides the result (one table), so the two can never disagree. Both are metric labels.
"""

from enum import StrEnum


class Result(StrEnum):
    """What a call came to."""

    COMPLETED = "completed"  # caller and bot talked, and it ended as calls end
    UNANSWERED = "unanswered"  # the carrier never connected it to us
    REFUSED = "refused"  # we said no, by policy
    FAILED = "failed"  # it should have worked and did not


class Reason(StrEnum):
    """Why it ended. The first reason wins; later ones change nothing."""

    CALLER_HUNG_UP = "caller_hung_up"  # the hangup webhook says so
    STREAM_CLOSED = "stream_closed"  # the stream closed and did not come back within the window
    BOT_ENDED = "bot_ended"  # the bot said goodbye
    IDLE = "idle"  # nobody said anything for the idle limit
    MAX_DURATION = "max_duration"
    OPERATOR = "operator_ended"  # somebody of ours ended it, through the API
    BUSY_MESSAGE = "busy_message"  # heard a busy message instead of a bot
    REDIRECTED = "redirected"  # sent to another stream URL, by policy
    NO_CAPACITY = "no_capacity"  # refused at the webhook
    ABANDONED = "abandoned"  # the caller hung up while waiting in line
    NO_ANSWER = "no_answer"  # carrier: NO_ANSWER
    BUSY = "busy"  # carrier: BUSY
    CANCELED = "canceled"  # carrier: CANCELED
    CARRIER_FAILED = "carrier_failed"  # carrier: FAILED
    NEVER_ATTACHED = "never_attached"  # answered, but no stream came in time
    NO_START = "no_start"  # a stream came, but never its `start`
    BOT_ERROR = "bot_error"  # the bot raised
    PROVIDER_ERROR = "provider_error"  # speech or language provider down
    STUCK = "stuck"  # the pipeline would not end and was cut
    WORKER_LOST = "worker_lost"  # the worker died and nobody took over
    POISONOUS = "poisonous"  # its bot killed one worker after the other
    SHUTDOWN = "shutdown"  # cut by a shutdown or a drain's deadline


RESULT_OF: dict[Reason, Result] = {
    Reason.CALLER_HUNG_UP: Result.COMPLETED,
    Reason.STREAM_CLOSED: Result.COMPLETED,
    Reason.BOT_ENDED: Result.COMPLETED,
    Reason.IDLE: Result.COMPLETED,
    Reason.MAX_DURATION: Result.COMPLETED,
    Reason.OPERATOR: Result.COMPLETED,
    Reason.BUSY_MESSAGE: Result.REFUSED,
    Reason.REDIRECTED: Result.REFUSED,
    Reason.NO_CAPACITY: Result.REFUSED,
    Reason.ABANDONED: Result.REFUSED,
    Reason.NO_ANSWER: Result.UNANSWERED,
    Reason.BUSY: Result.UNANSWERED,
    Reason.CANCELED: Result.UNANSWERED,
    Reason.CARRIER_FAILED: Result.UNANSWERED,
    Reason.NEVER_ATTACHED: Result.FAILED,
    Reason.NO_START: Result.FAILED,
    Reason.BOT_ERROR: Result.FAILED,
    Reason.PROVIDER_ERROR: Result.FAILED,
    Reason.STUCK: Result.FAILED,
    Reason.WORKER_LOST: Result.FAILED,
    Reason.POISONOUS: Result.FAILED,
    Reason.SHUTDOWN: Result.FAILED,
}

# What the carrier's `call_status` in the hangup webhook says about a call that is not over yet.
REASON_OF_CARRIER_STATUS: dict[str, Reason] = {
    "COMPLETED": Reason.CALLER_HUNG_UP,
    "NO_ANSWER": Reason.NO_ANSWER,
    "BUSY": Reason.BUSY,
    "CANCELED": Reason.CANCELED,
    "FAILED": Reason.CARRIER_FAILED,
}
