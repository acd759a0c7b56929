"""An error of Pipecat's → the failure of a provider that it is: whose, of what kind, and whether somebody stands in.

The kind comes from types and status codes, never from the words of an error: a text that quotes what a caller said
("room 401, please") once made a rejected key of it.
"""

from collections.abc import Iterator
from enum import Enum, auto

from pipecat.frames.frames import ErrorFrame
from pipecat.pipeline.worker import PipelineWorker, ProcessorUnusablePolicy
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.ai_service import AIService
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.utils.errors import ErrorCategory, classify_http_exception

from shared.telemetry.catalogue import PROVIDERS
from worker.pipeline.anatomy import has_substitute, processors_in
from worker.provider_health import Failure, Service

FAULTS: dict[ErrorCategory, str] = {
    ErrorCategory.AUTHENTICATION: "auth",
    ErrorCategory.AUTHORIZATION: "auth",
    ErrorCategory.INVALID_REQUEST: "request",
    ErrorCategory.RATE_LIMIT: "rate_limit",
    ErrorCategory.QUOTA: "rate_limit",
    ErrorCategory.CONNECTIVITY: "connection",
    ErrorCategory.SERVER: "server",
}
CONNECTION_ERRORS = frozenset(  # of aiohttp, httpx, openai, websockets, which are no OSError
    {"OSError", "ClientConnectionError", "TransportError", "APIConnectionError", "ConnectionClosed"}
)
SERVERS_FAULT = range(1011, 1015)  # close codes of a WebSocket: internal error, restart, try again later, bad gateway


class Connection(Enum):
    """What is known of a service's connection where there is none to show."""

    NONE = auto()  # it keeps one, and has lost it
    UNKNOWN = auto()  # it keeps none: one request after another


def failure_of(frame: ErrorFrame, source: FrameProcessor, pipeline: PipelineWorker) -> Failure | None:
    """The failure of a provider that this error is; None if it is the bot's own. `pipeline` is the transport's."""
    service = frame.processor or source
    if not isinstance(service, AIService) or frame.category is ErrorCategory.APPLICATION:
        return None
    is_dead = bool(frame.category and frame.category.is_permanent) or not service.is_usable or frame.fatal
    connection = connection_of(service)

    def is_recovered() -> bool:
        if is_dead:
            return service.is_usable and not frame.fatal
        return connection_of(service) not in (connection, *Connection)

    return Failure(
        provider=provider_of(service),
        fault=fault_of(frame, connection),
        service=service_of(service),
        source=service.name,
        is_dead=is_dead,
        hears=isinstance(service, LLMService) and not recognisers_in(pipeline),
        ends_pipeline=frame.fatal or (is_dead and ends_with_a_service(service.pipeline_worker)),
        exception=frame.exception,
        is_covered=lambda: has_substitute(service, service.pipeline_worker.pipeline),
        is_recovered=is_recovered,
    )


def recogniser_gone(pipeline: PipelineWorker) -> Failure | None:
    """The failure of a pipeline in which no recognition has a connection, though it said nothing of it."""
    recognisers = recognisers_in(pipeline)
    if not recognisers or any(connection_of(recogniser) is not Connection.NONE for recogniser in recognisers):
        return None
    return Failure(provider_of(recognisers[0]), "connection", Service.STT, recognisers[0].name)


def recognisers_in(pipeline: PipelineWorker) -> list[STTService]:
    return [processor for processor in processors_in(pipeline.pipeline) if isinstance(processor, STTService)]


def ends_with_a_service(pipeline: PipelineWorker) -> bool:
    """Whether the bot wants its pipeline ended when a service can do no more work."""
    return pipeline._processor_unusable_policy is not ProcessorUnusablePolicy.CONTINUE


def connection_of(service: FrameProcessor) -> object:
    """The connection that a service has open, as an object that another connection is not; else a `Connection`."""
    names = [name for name in ("_websocket", "_connection") if hasattr(service, name)]
    connections = [getattr(service, name) for name in names]
    if not names:
        return Connection.UNKNOWN
    return next((each for each in connections if each is not None and not _is_closed(each)), Connection.NONE)


def _is_closed(connection: object) -> bool:
    socket = getattr(connection, "_websocket", connection)  # Deepgram's client holds it
    state = getattr(getattr(socket, "state", None), "name", "")
    return state in ("CLOSING", "CLOSED") or getattr(connection, "closed", False) is True


def service_of(service: FrameProcessor) -> Service:
    if isinstance(service, STTService):
        return Service.STT
    return Service.LLM if isinstance(service, LLMService) else Service.TTS


def provider_of(service: FrameProcessor) -> str:
    """The provider's name as a metric label, from where its service is defined."""
    names = " ".join(f"{cls.__module__}.{cls.__name__}".lower() for cls in type(service).__mro__)
    return next((provider for provider in PROVIDERS if provider in names), "other")


def fault_of(frame: ErrorFrame, connection: object = Connection.UNKNOWN) -> str:
    """The kind of fault as a metric label: by the exception's type, the category, the status or close code."""
    chain = list(_chain(frame.exception))
    if any("Timeout" in kind for error in chain for kind in _kinds(error)):
        return "timeout"
    categories = [frame.category, *(classify_http_exception(error) for error in chain)]
    fault = next((FAULTS[category] for category in categories if category in FAULTS), "")
    if fault:
        return fault
    if any(_close_code(error) in SERVERS_FAULT for error in chain):
        return "server"
    is_lost = not chain and connection is Connection.NONE
    if is_lost or any(CONNECTION_ERRORS & _kinds(error) for error in chain):
        return "connection"
    return "other"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _close_code(error: BaseException) -> int | None:
    return getattr(getattr(error, "rcvd", None), "code", None)
