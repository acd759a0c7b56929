"""What a bot brings along from another transport, and what it is to do with it here: sentences for its developer."""

import re

from pipecat.transports.base_transport import TransportParams

_OURS = "ours are on_client_connected and on_client_disconnected"
# The first pattern that fits the event's whole name.
_BESIDE = (
    (
        r"on_(dialin|dialout)_(error|warning|stopped)",
        "a call's end comes to on_client_disconnected, its reason is in its record",
    ),
    (r".*dtmf.*", "keys come as InputDTMFFrame"),
    (r".*(app_message|client_message|data_received|app-message)|on_message", "a telephone sends no messages"),
    (r"on_recording_.*", "record with AudioBufferProcessor"),
    (r"on_transcription_.*", "what the caller says comes as TranscriptionFrame, from your recognition"),
    (r"on_session_timeout", "SFVOPI_MAX_CALL_S ends a call, and on_client_disconnected tells of it"),
    (r"on_error", "errors come as ErrorFrame, and to on_pipeline_error of the PipelineWorker"),
    (r".*(video|track|speaker|network|camera|avatar).*", "a telephone has neither video nor tracks"),
    (r".*(left|disconnect|leave|ended|stopped|closed).*", "ours beside it: on_client_disconnected"),
    (r".*(join|connect|ready|answered|started|call_state).*", "ours beside it: on_client_connected"),
)

# Parameters of a transport that mean the same here. The wire decides on the others of Pipecat's own (rate, chunks,
# audio on); what only another transport has is of no use.
_HARMLESS = {"serializer", "add_wav_header", "allowed_origins", "ws_close_timeout"}


def event_never_called(name: str) -> str:
    """For a handler of an event that this transport does not have."""
    beside = next((hint for pattern, hint in _BESIDE if re.fullmatch(pattern, name)), _OURS)
    return f"the handler of {name} is never called, for this transport has no such event; {beside}"


def parameters_not_used(params: TransportParams) -> list[str]:
    """For each parameter that was given and means nothing on a telephone line."""
    return [
        f"the transport's parameter {name} is not used: {_why(name)}"
        for name in sorted(params.model_fields_set - _HARMLESS)
        if _is_foreign(name) and getattr(params, name) not in (None, False, [], {})
    ]


def _is_foreign(name: str) -> bool:
    return name not in TransportParams.model_fields or name.startswith("video_")


def _why(name: str) -> str:
    if name == "session_timeout":
        return "SFVOPI_MAX_CALL_S ends a call"
    return "it is for video" if "video" in name or "camera" in name else "it belongs to another transport"
