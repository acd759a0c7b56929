"""Pipecat's transport over a call's stream: the one line that a bot changes.

    transport = SFVoPITransport.for_call(runner_args)

The stream outlives its sockets, so a pipeline above this transport lives through a reconnection. Audio is paced by
the call's speaker; here frames become what the wire knows, and back.
"""

import audioop
import time
from typing import Any

from loguru import logger
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.audio.utils import create_stream_resampler
from pipecat.frames.frames import (
    AggregatedTextFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.runner.types import RunnerArguments
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import BaseTransport, TransportParams

from shared.sfvopi.g711 import decode
from shared.sfvopi.messages import AudioCleared, CheckpointPlayed, DigitPressed, Event, MediaReceived
from worker.pipeline.observer import CallObserver
from worker.providers import Service
from worker.speaker import CHUNK_MS
from worker.stream import CallStream
from worker.turns import LOUD_RMS

KEYS = {str(key.value): key for key in KeypadEntry}  # A-D, which few telephones have, are not among them


class SFVoPITransport(BaseTransport):
    """The transport of one call.

    Events: `on_client_connected(transport, stream)`; `on_client_disconnected(transport, stream)` when the caller is
    gone for good: hung up, or not back within the reconnect window. A bot that handles neither is ended anyway.
    """

    def __init__(self, stream: CallStream, params: TransportParams) -> None:
        super().__init__()
        self.stream = stream
        self._input = SFVoPIInput(self, params)
        self._output = SFVoPIOutput(self, params)
        self._register_event_handler("on_client_connected")
        self._register_event_handler("on_client_disconnected")
        stream.handles_disconnect = lambda: bool(self._event_handlers["on_client_disconnected"].handlers)

    @classmethod
    def for_call(cls, runner_args: RunnerArguments, params: TransportParams | None = None) -> "SFVoPITransport":
        """The transport of the call that `runner_args` describe. `params` add filters, a mixer, a volume …

        What the wire decides (rate out, chunks, audio on) is set here, whatever `params` say.
        """
        stream = getattr(runner_args, "websocket", None)
        if not isinstance(stream, CallStream):
            raise TypeError("SFVoPITransport.for_call wants the runner_args that a worker of this fleet gave the bot")
        given = params or TransportParams()
        ours = {
            "audio_in_enabled": True,
            "audio_out_enabled": True,
            "audio_out_sample_rate": stream.format.sample_rate,
            "audio_out_10ms_chunks": CHUNK_MS // 10,
            "audio_out_end_silence_secs": 0,
            # audio waits for a stream that comes back; a dead peer is noticed by the socket, long before
            "audio_out_write_timeout_secs": stream.hold_s + 30,
        }
        return cls(stream, given.model_copy(update=ours))

    def input(self) -> "SFVoPIInput":
        return self._input

    def output(self) -> "SFVoPIOutput":
        return self._output

    async def tell_connected(self) -> None:
        if not self.stream.is_rehearsal:
            await self._call_event_handler("on_client_connected", self.stream)

    async def tell_disconnected(self) -> None:
        await self._call_event_handler("on_client_disconnected", self.stream)


class SFVoPIInput(BaseInputTransport):
    """What the carrier sends, as frames."""

    def __init__(self, transport: SFVoPITransport, params: TransportParams) -> None:
        super().__init__(params)
        self._transport = transport
        self._stream = transport.stream
        self._resampler = create_stream_resampler(clear_after_secs=None)
        self._receiver: Any = None

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat's own does
        await super().setup(setup)
        pipeline = setup.pipeline_worker
        pipeline.add_observer(CallObserver(self._stream.watch, pipeline))

        async def idle(_: Any) -> None:
            self._stream.watch.idle_seen = True

        pipeline.add_event_handler("on_idle_timeout", idle)
        self._stream.show_pipeline(pipeline)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self._transport.tell_connected()
        await self.push_frame(ClientConnectedFrame())
        if self._receiver is None:
            self._receiver = self.create_task(self._receive())
        await self.set_transport_ready(frame)

    async def stop(self, frame: EndFrame) -> None:
        await super().stop(frame)
        await self._stop_receiving()

    async def cancel(self, frame: CancelFrame) -> None:
        await super().cancel(frame)
        await self._stop_receiving()

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._stop_receiving()
        await self._transport.cleanup()

    async def _stop_receiving(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            await self.cancel_task(receiver)

    def _create_audio_task(self) -> None:
        if self._params.audio_in_filter:  # else frames go straight on: a queue and a task less per frame
            super()._create_audio_task()

    async def push_audio_frame(self, frame: InputAudioRawFrame) -> None:
        if self._params.audio_in_filter:
            await super().push_audio_frame(frame)
        elif not self._paused and self._params.audio_in_passthrough:
            await self.push_frame(frame)

    async def _receive(self) -> None:
        async for event in self._stream.events():
            await self._receive_one(event)
        await self._transport.tell_disconnected()

    async def _receive_one(self, event: Event) -> None:
        match event:
            case MediaReceived():
                await self._receive_audio(event)
            case DigitPressed():
                self._stream.watch.digit(event.digit)
                key = KEYS.get(event.digit)
                if key is not None:
                    await self.push_frame(InputDTMFFrame(button=key))
            case AudioCleared():
                message = {"event": "clearedAudio", "sequenceNumber": event.sequence_number}
                await self.broadcast_frame(InputTransportMessageFrame, message=message)
            case CheckpointPlayed():
                message = {"event": "playedStream", "name": event.name}
                await self.broadcast_frame(InputTransportMessageFrame, message=message)

    async def _receive_audio(self, event: MediaReceived) -> None:
        pcm = decode(event.payload, event.format)
        if audioop.rms(pcm, 2) > LOUD_RMS:
            self._stream.watch.caller_was_loud(time.monotonic())
        if event.format.sample_rate != self.sample_rate:
            pcm = await self._resampler.resample(pcm, event.format.sample_rate, self.sample_rate)
            if not pcm:
                return
        await self.push_audio_frame(InputAudioRawFrame(audio=pcm, sample_rate=self.sample_rate, num_channels=1))


class SFVoPIOutput(BaseOutputTransport):
    """Frames, as what we send to the carrier."""

    def __init__(self, transport: SFVoPITransport, params: TransportParams) -> None:
        super().__init__(params)
        self._transport = transport
        self._stream = transport.stream
        self._speaker = transport.stream.speaker
        self._is_interrupting = False

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def stop(self, frame: EndFrame) -> None:
        """All that is queued is said and heard before the EndFrame goes on: the stream is closed behind it."""
        await super().stop(frame)
        await self._speaker.heard()

    async def cleanup(self) -> None:
        await super().cleanup()
        await self._transport.cleanup()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            await self._interrupt(frame, direction)
            return
        if isinstance(frame, TTSAudioRawFrame):
            self._stream.watch.turns.tts_spoke(time.monotonic())
            self._stream.watch.providers.lives(Service.TTS)
        await super().process_frame(frame, direction)

    async def _interrupt(self, frame: Frame, direction: FrameDirection) -> None:
        """clearAudio first, whatever is queued; what is queued is dropped behind it."""
        self._is_interrupting = True
        try:
            if await self._speaker.clear():
                self._stream.watch.bot_stopped(cut=True)
            self._stream.sentences_interrupted()
            await super().process_frame(frame, direction)
        finally:
            self._is_interrupting = False

    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        if direction is FrameDirection.DOWNSTREAM:  # text comes by here when its audio has been said
            if isinstance(frame, TTSTextFrame):
                spaced = frame.includes_inter_frame_spaces
                self._stream.watch.bot_text(frame.text, frame.segment_id, spaced=spaced)
            elif isinstance(frame, AggregatedTextFrame) and not frame.skip_tts:
                self._stream.watch.bot_sentence(frame.id, frame.text)
                await self._stream.sentence_begun(frame.text)
            elif isinstance(frame, BotStoppedSpeakingFrame):
                self._stream.watch.bot_stopped()
                await self._stream.sentence_ended()
        await super().push_frame(frame, direction)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        if self._is_interrupting and frame.interruptible:
            return False
        return await self._speaker.say(frame.audio, interruptible=frame.interruptible)

    async def send_message(self, frame: OutputTransportMessageFrame | OutputTransportMessageUrgentFrame) -> None:
        """A message for the wire: `{"event": "checkpoint", "name": …}` or `{"event": "clearAudio"}`."""
        message = frame.message if isinstance(frame.message, dict) else {}
        match message.get("event"):
            case "checkpoint" if message.get("name"):
                if isinstance(frame, OutputTransportMessageFrame):  # the urgent kind waits for nothing
                    await self._stream.attached()
                await self._speaker.checkpoint(str(message["name"]))
            case "clearAudio":
                await self._speaker.clear()
            case _:  # RTVI and the like are not for carriers
                logger.debug(f"{self}: a message that SFVoPI does not know is not sent")
