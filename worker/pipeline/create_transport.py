"""Pipecat's `create_transport`, for a call of this fleet: a bot that uses it runs here unchanged.

The bot loader puts it in the place of Pipecat's before a bot is imported. For anything but a call of this fleet it is
Pipecat's own.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pipecat.runner import utils
from pipecat.runner.types import WebSocketRunnerArguments
from pipecat.transports.base_transport import BaseTransport, TransportParams

from shared.telemetry.logs import get_logger
from worker.pipeline.transport import SFVoPITransport
from worker.stream import CallStream

# Whose parameters a call gets: ours, else a telephone's, else another WebSocket's.
KEYS = ("sfvopi", "twilio", "plivo", "telnyx", "exotel", "websocket")
SIGNATURE = ("runner_args", "transport_params")

STOCK = utils.create_transport

log = get_logger(__name__)


async def create_transport(runner_args: Any, transport_params: dict[str, Callable[[], Any]]) -> BaseTransport:
    """The transport of the call, with the parameters that `transport_params` have for a telephone."""
    if isinstance(getattr(runner_args, "websocket", None), CallStream):
        return SFVoPITransport.for_call(runner_args, params_for_a_phone(transport_params))
    if await _is_eval(runner_args):
        from worker.pipeline.elsewhere import TransportElsewhere  # which needs this module

        return TransportElsewhere(runner_args, transport_params)
    return await STOCK(runner_args, transport_params)


async def _is_eval(runner_args: Any) -> bool:
    """Whether Pipecat's evaluation harness calls: it needs RTVI in the pipeline, which a bot for telephones lacks."""
    if not isinstance(runner_args, WebSocketRunnerArguments) or runner_args.transport_type == "websocket":
        return False
    kind, _ = await utils.parse_telephony_websocket(runner_args.websocket)
    return bool(kind == "eval")


def with_eval(transport_params: Mapping[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """The parameters, and an evaluation's if there are none for it."""

    def evaluation() -> Any:
        from pipecat.evals.transport import EvalTransportParams

        return EvalTransportParams(audio_in_enabled=True, audio_out_enabled=True)

    return {"eval": evaluation, **transport_params}


def params_for_a_phone(transport_params: Mapping[str, Callable[[], Any]]) -> TransportParams:
    """What the first of `KEYS` gives; without any of them, what the first other key gives that can be made here."""
    for key in KEYS:
        if key in transport_params:
            return _as_params(key, transport_params[key]())
    for key, factory in transport_params.items():
        try:
            return _as_params(key, factory())
        except Exception as error:  # of a transport that is not installed, perhaps: none of it is needed
            log.info("parameters of a transport cannot be made here", transport=key, error=str(error))
    return TransportParams()


def _as_params(key: str, params: Any) -> TransportParams:
    if not isinstance(params, TransportParams):
        raise TypeError(f"transport_params[{key!r}] makes a {type(params).__name__}, and no TransportParams")
    return params


def install() -> None:
    """Let bots that are imported from now on find ours where they look for Pipecat's. May be called again."""
    if utils.create_transport is create_transport:
        return
    found = tuple(inspect.signature(STOCK).parameters)
    if found != SIGNATURE or not inspect.iscoroutinefunction(STOCK):
        log.error(
            "this Pipecat's create_transport is not the one that is known here, and stays as it is: a bot that uses it "
            "cannot take a call; write SFVoPITransport.for_call(runner_args) in its place",
            parameters=", ".join(found),
            known=", ".join(SIGNATURE),
        )
        return
    utils.create_transport = create_transport
