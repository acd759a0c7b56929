"""What an error of Pipecat's says of a provider: by types and status codes, never by the words of its text."""

import aiohttp
import httpx
import openai
import pytest
import websockets
from pipecat.frames.frames import ErrorFrame
from pipecat.utils.errors import ErrorCategory, classify_http_exception
from websockets.frames import Close

from worker.pipeline.failures import Connection, connection_of, fault_of

REQUEST = httpx.Request("POST", "http://provider")


def status(code):
    response = httpx.Response(code, request=REQUEST)
    return openai.APIStatusError("no", response=response, body=None)


def handshake(code):
    return websockets.InvalidStatus(websockets.Response(code, "no", websockets.Headers()))


def closed(code):
    return websockets.ConnectionClosedError(Close(code, ""), None)


def raised_from(outer, inner):
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("exception", "fault"),
    [
        (status(401), "auth"),
        (status(403), "auth"),
        (status(404), "request"),
        (status(429), "rate_limit"),
        (status(402), "rate_limit"),
        (status(503), "server"),
        (handshake(401), "auth"),
        (handshake(500), "server"),
        (closed(1006), "connection"),
        (closed(1011), "server"),
        (ConnectionRefusedError(), "connection"),
        (OSError("no route"), "connection"),
        (TimeoutError(), "timeout"),
        (httpx.ReadTimeout("slow"), "timeout"),
        (openai.APITimeoutError(REQUEST), "timeout"),
        (openai.APIConnectionError(request=REQUEST), "connection"),
        (raised_from(openai.APIConnectionError(request=REQUEST), httpx.ConnectTimeout("slow")), "timeout"),
        (raised_from(RuntimeError("it failed"), status(401)), "auth"),
        (aiohttp.ClientConnectionError(), "connection"),
        (aiohttp.ServerTimeoutError(), "timeout"),
        (ValueError("401"), "other"),
    ],
    ids=repr,
)
def test_a_label_by_type_and_status(exception, fault):
    category = classify_http_exception(exception)  # as Pipecat does before it pushes the error
    assert fault_of(ErrorFrame("it failed", exception=exception, category=category)) == fault


@pytest.mark.parametrize(
    "text",
    ["HTTP 401", "room 401, please", "code 429", "403 pounds", "the answer timed out", "timeout", "{'status': 500}"],
)
def test_no_word_of_a_text_makes_a_label(text):
    assert fault_of(ErrorFrame(text, category=ErrorCategory.UNKNOWN)) == "other"
    assert fault_of(ErrorFrame(text)) == "other"


def test_an_error_of_a_service_without_its_connection_is_of_the_connection():
    assert fault_of(ErrorFrame("gone"), Connection.NONE) == "connection"
    assert fault_of(ErrorFrame("a word", exception=ValueError()), Connection.NONE) == "other"


class Service:
    def __init__(self, **kept):
        self.__dict__.update(kept)


def test_what_is_known_of_a_connection():
    open_one = Service(state=websockets.State.OPEN)
    assert connection_of(Service()) is Connection.UNKNOWN
    assert connection_of(Service(_websocket=None)) is Connection.NONE
    assert connection_of(Service(_websocket=Service(state=websockets.State.CLOSED))) is Connection.NONE
    assert connection_of(Service(_websocket=Service(closed=True))) is Connection.NONE
    assert connection_of(Service(_websocket=open_one)) is open_one
    assert connection_of(Service(_connection=open_one)) is open_one
    client = Service(_websocket=Service(state=websockets.State.CLOSED))
    assert connection_of(Service(_connection=client)) is Connection.NONE, "a client whose socket is closed"
