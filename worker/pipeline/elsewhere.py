"""A bot of this fleet under another runner: Pipecat's own, its prebuilt page, an evaluation.

`SFVoPITransport.for_call(runner_args)` gives this for what is no call of the fleet. Which transport those arguments
mean may be known only from the first messages of a socket, so Pipecat's `create_transport` is asked when the pipeline
is set up, and what it makes takes its place between the neighbours. What our transport does beyond it comes along:
speech is noticed, and a client that speaks RTVI finds it, also in a pipeline with `enable_rtvi=False`.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    Frame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup
from pipecat.processors.frameworks.rtvi import RTVIProcessor
from pipecat.transports.base_transport import BaseTransport, TransportParams

from shared.telemetry.logs import get_logger
from worker.pipeline.anatomy import has_speech_detection, processors_in
from worker.pipeline.create_transport import STOCK, with_eval
from worker.pipeline.finish import close_clients
from worker.pipeline.vad import SharedSileroVADAnalyzer

if TYPE_CHECKING:
    from worker.pipeline.recordings import Recording

log = get_logger(__name__)

PHONES = ("twilio", "telnyx", "plivo", "exotel")  # their wire has no RTVI
OF_THE_WIRE = ("checkpoint", "clearAudio")  # SFVoPI's own messages

Factories = Mapping[str, Callable[[], Any]]
P = TypeVar("P", bound=TransportParams)


class TransportElsewhere(BaseTransport):
    """Stands for the transport that `runner_args` mean, which is made when the pipeline is set up.

    Handlers of events are passed on to it: which events there are is that transport's to say.
    """

    def __init__(self, runner_args: Any, transport_params: Factories, vad: VADParams | None = None) -> None:
        super().__init__()
        self._runner_args = runner_args
        self._transport_params = dict(transport_params)
        self._vad = vad
        self._given_handlers: list[tuple[str, Any]] = []
        self._making: asyncio.Task[BaseTransport] | None = None
        self._input = _Input(self._inputs)
        self._output = _Output(self._outputs)

    @classmethod
    def for_call(cls, runner_args: Any, params: TransportParams | None, vad: VADParams | None) -> "TransportElsewhere":
        """With the same parameters, whichever transport it is."""
        return cls(runner_args, params_of_each(params or TransportParams()), vad)

    def input(self) -> FrameProcessor:
        return self._input

    def output(self) -> FrameProcessor:
        return self._output

    def add_event_handler(self, event_name: str, handler: Any) -> None:
        """Kept for the transport that is to come, or given to it."""
        self._given_handlers.append((event_name, handler))
        if self._making is not None and self._making.done():
            self._making.result().add_event_handler(event_name, handler)

    async def say(self, recording: "Recording") -> None:
        """As `SFVoPITransport.say`."""
        if recording.is_recorded:
            for frame in recording.frames():
                await self._output.queue_frame(frame)
        else:
            await self._output.pipeline_worker.queue_frame(TTSSpeakFrame(recording.text))

    async def _transport(self) -> BaseTransport:
        """The one that it stands for; made once, whoever asks first."""
        if self._making is None:
            self._making = asyncio.create_task(self._make(), name="transport")
        return await asyncio.shield(self._making)

    async def _make(self) -> BaseTransport:
        transport = await STOCK(self._runner_args, with_eval(self._transport_params))
        for event_name, handler in self._given_handlers:
            transport.add_event_handler(event_name, handler)
        return transport

    async def _inputs(self, setup: FrameProcessorSetup) -> list[FrameProcessor]:
        worker = setup.pipeline_worker
        try:
            transport = await self._transport()
        except Exception as error:  # keys of a carrier that are not set, a transport that is not installed …
            log.error("no transport for this session", error=f"{type(error).__name__}: {error}")
            await worker.cancel()
            raise
        before: list[FrameProcessor] = []
        if self._speaks_rtvi() and not _has(RTVIProcessor, worker.pipeline):
            before.append(_rtvi_for(worker))
        behind: list[FrameProcessor] = []
        if self._vad is not None and not has_speech_detection(worker.pipeline):
            behind.append(VADProcessor(vad_analyzer=SharedSileroVADAnalyzer(params=self._vad)))
        return [*before, transport.input(), *behind]

    async def _outputs(self, _: FrameProcessorSetup) -> list[FrameProcessor]:
        return [(await self._transport()).output()]

    def _speaks_rtvi(self) -> bool:
        return getattr(self._runner_args, "transport_type", None) not in PHONES


class _Place(FrameProcessor):
    """Where processors are put in when the pipeline is set up."""

    def __init__(self, make: Callable[[FrameProcessorSetup], Any]) -> None:
        super().__init__()
        self._make = make
        self._inner: Pipeline | None = None

    @property
    def processors(self) -> list[FrameProcessor]:
        return [self._inner] if self._inner is not None else []

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat's own does
        await super().setup(setup)
        behind = self.next
        assert behind is not None, "a transport's input and output stand in a pipeline"
        self._inner = Pipeline(await self._make(setup))
        self.link(self._inner)
        self._inner.link(behind)
        await self._inner.setup(setup)  # which holds the StartFrame until all within are set up, as we do meanwhile

    async def cleanup(self) -> None:
        await super().cleanup()
        if self._inner is not None:
            await self._inner.cleanup()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class _Input(_Place):
    """Closes in the end what Pipecat's services leave open, as a session of the fleet does."""

    async def cleanup(self) -> None:
        await super().cleanup()
        await close_clients(self.pipeline_worker)


class _Output(_Place):
    """In front of the real output: what only SFVoPI's wire knows goes no further."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if _is_of_the_wire(frame):
            await FrameProcessor.process_frame(self, frame, direction)
        else:
            await super().process_frame(frame, direction)


def _is_of_the_wire(frame: Frame) -> bool:
    if not isinstance(frame, OutputTransportMessageFrame | OutputTransportMessageUrgentFrame):
        return False
    return isinstance(frame.message, dict) and frame.message.get("event") in OF_THE_WIRE


def _has(kind: type[FrameProcessor], pipeline: FrameProcessor) -> bool:
    return any(isinstance(processor, kind) for processor in processors_in(pipeline))


def _rtvi_for(worker: Any) -> RTVIProcessor:
    """What `PipelineWorker(enable_rtvi=True)` would have put in."""
    rtvi = RTVIProcessor()
    worker.add_observer(rtvi.create_rtvi_observer())

    async def ready(rtvi: RTVIProcessor) -> None:
        await rtvi.set_bot_ready()

    rtvi.add_event_handler("on_client_ready", ready)
    return rtvi


def params_of_each(given: TransportParams) -> Factories:
    """The same parameters for every transport of Pipecat's; a module is imported only for the one that is wanted."""

    def websocket() -> Any:
        from pipecat.serializers.protobuf import ProtobufFrameSerializer
        from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams

        params = _as(FastAPIWebsocketParams, given)
        params.serializer = params.serializer or ProtobufFrameSerializer()
        return params

    def phone() -> Any:
        from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams

        return _as(FastAPIWebsocketParams, given)

    def daily() -> Any:
        from pipecat.transports.daily.transport import DailyParams

        return _as(DailyParams, given)

    def livekit() -> Any:
        from pipecat.transports.livekit.transport import LiveKitParams

        return _as(LiveKitParams, given)

    plain = {key: lambda: _as(TransportParams, given) for key in ("webrtc", "moq")}
    return {"websocket": websocket, **dict.fromkeys(PHONES, phone), "daily": daily, "livekit": livekit, **plain}


def _as(kind: type[P], given: TransportParams) -> P:
    fields = {name: getattr(given, name) for name in given.model_fields_set if name in kind.model_fields}
    return kind(**{**fields, "audio_in_enabled": True, "audio_out_enabled": True})
