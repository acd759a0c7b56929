"""Pipecat's transport over a call's stream: the one line that a bot changes.

    transport = SFVoPITransport.for_call(runner_args)

The stream outlives its sockets, so a pipeline above this transport lives through a reconnection. Audio is paced by
the call's speaker; here frames become what the wire knows, and back.
"""

import asyncio
import audioop
import time
from typing import TYPE_CHECKING, Any

from loguru import logger
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.audio.dtmf.utils import load_dtmf_audio
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    AggregatedTextFrame,
    BotSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InputTransportMessageFrame,
    InterruptionFrame,
    MetricsFrame,
    OutputAudioRawFrame,
    OutputDTMFFrame,
    OutputDTMFUrgentFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
    StopFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSTextFrame,
    UserMuteStartedFrame,
    UserMuteStoppedFrame,
    VADParamsUpdateFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.runner.types import RunnerArguments
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import BaseTransport, TransportParams

from shared.sfvopi.errors import DropReason
from shared.sfvopi.g711 import decode
from shared.sfvopi.messages import AudioCleared, CheckpointPlayed, DigitPressed, Event, MediaReceived
from worker.pipeline.anatomy import has_speech_detection, is_audio_wanted_behind
from worker.pipeline.ears import Ears
from worker.pipeline.foreign import event_never_called, parameters_not_used
from worker.pipeline.observer import CallObserver
from worker.pipeline.recordings import Recording
from worker.pipeline.resampler import Resampler
from worker.pipeline.usage import count_usage
from worker.pipeline.vad import EDGE_PARAMS
from worker.stream import CallStream
from worker.turns import LOUD_RMS

if TYPE_CHECKING:
    from worker.pipeline.elsewhere import TransportElsewhere

PIECE_MS = 100  # of the caller's audio, for what recognises it: every piece costs the same, however long it is
QUIET_PIECE_MS = 200  # as long as there is nothing but the line's noise: with the first louder sound it goes on at once
MOST_UNHEARD_S = 5  # of the caller's audio that a busy pipeline may leave waiting
PAUSE_S = 0.04  # without audio from the voice: what it has brought is said
TAIL_LEAD_S = 0.08  # and reaches the carrier so long before it has nothing more to play
BOT_SPEAKS_EVERY_S = 2.0  # Pipecat tells it five times a second, to everybody in the pipeline
KEYS = {str(key.value): key for key in KeypadEntry}  # A-D, which few telephones have, are not among them


def is_rehearsal(runner_args: RunnerArguments) -> bool:
    """Whether the bot is only tried, before calls come: it leaves out what counts or costs. False outside a fleet."""
    body = getattr(runner_args, "body", None)
    return isinstance(body, dict) and bool(body.get("rehearsal"))


class SFVoPITransport(BaseTransport):
    """The transport of one call.

    Events: `on_client_connected(transport, stream)`; `on_client_disconnected(transport, stream)` when the caller is
    gone for good: hung up, or not back within the reconnect window. A bot that handles neither is ended anyway.
    """

    def __init__(self, stream: CallStream, params: TransportParams, vad: VADParams | None = EDGE_PARAMS) -> None:
        super().__init__()
        self.stream = stream
        self._input = SFVoPIInput(self, params, vad)
        self._output = SFVoPIOutput(self, params)
        self._register_event_handler("on_client_connected")
        self._register_event_handler("on_client_disconnected")
        stream.handles_disconnect = lambda: bool(self._event_handlers["on_client_disconnected"].handlers)

    @classmethod
    def for_call(
        cls,
        runner_args: RunnerArguments,
        params: TransportParams | None = None,
        *,
        vad: VADParams | None = EDGE_PARAMS,
    ) -> "SFVoPITransport | TransportElsewhere":
        """The transport of the call that `runner_args` describe. `params` add filters, a mixer, a volume …

        What the wire decides (rate out, chunks, audio on) is set here, whatever `params` say. Speech is noticed here,
        by `vad`, unless something in the pipeline does it: an analyzer of the bot's own, or its speech recognition.

        Under another runner than a worker of this fleet, it is the transport that those arguments mean.
        """
        stream = getattr(runner_args, "websocket", None)
        if not isinstance(stream, CallStream):
            from worker.pipeline.elsewhere import TransportElsewhere  # no call of a worker imports it

            return TransportElsewhere.for_call(runner_args, params, vad)
        given = params or TransportParams()
        for remark in parameters_not_used(given):
            stream.remark(remark)
        ours = {
            "audio_in_enabled": True,
            "audio_out_enabled": True,
            "audio_out_sample_rate": stream.format.sample_rate,
            "audio_out_10ms_chunks": stream.speaker.chunk_ms // 10,
            "audio_out_end_silence_secs": 0,
            # audio waits for a stream that comes back; a dead peer is noticed by the socket, long before
            "audio_out_write_timeout_secs": stream.hold_s + 30,
        }
        return cls(stream, given.model_copy(update=ours), vad)

    def add_event_handler(self, event_name: str, handler: Any) -> None:
        """For the events above. Others belong to other transports: the rehearsal names them."""
        if event_name in self._event_handlers:
            super().add_event_handler(event_name, handler)
        else:
            self.stream.remark(event_never_called(event_name))

    def get_client_id(self, client: Any) -> str:
        """The call's id, whoever asks for that of a client."""
        return self.stream.call_id

    async def say(self, recording: Recording) -> None:
        """Play a recording at once, past all processors: for when nothing else is being said.

        What was not recorded is said by the bot's voice, in the order of the pipeline's frames.
        """
        if recording.is_recorded:
            for frame in recording.frames():
                await self._output.queue_frame(frame)
        else:
            assert self.stream.pipeline is not None, "say() belongs into on_client_connected, or later"
            await self.stream.pipeline.queue_frame(TTSSpeakFrame(recording.text))

    def input(self) -> "SFVoPIInput":
        return self._input

    def output(self) -> "SFVoPIOutput":
        return self._output

    @property
    def is_handed_over(self) -> bool:
        """Whether the call goes on in another session: what follows a call is that session's to do."""
        return self.stream.is_handed_over

    async def tell_connected(self) -> None:
        if not self.stream.is_rehearsal:
            await self._call_event_handler("on_client_connected", self.stream)

    async def tell_disconnected(self) -> None:
        if not self.stream.is_handed_over:
            await self._call_event_handler("on_client_disconnected", self.stream)


class SFVoPIInput(BaseInputTransport):
    """What the carrier sends, as frames. Audio goes on in pieces, and what it says of the caller's speech with it."""

    def __init__(self, transport: SFVoPITransport, params: TransportParams, vad: VADParams | None) -> None:
        super().__init__(params)
        self._transport = transport
        self._stream = transport.stream
        self._vad = vad
        self._ears: Ears | None = None
        self._ears_rate = transport.stream.format.sample_rate
        self._resampler: Resampler | None = None
        self._other_resampler: tuple[int, Resampler] | None = None  # for audio that is not the line's, and its rate
        self._heard = bytearray()  # 16-bit PCM at the pipeline's rate, not yet pushed
        self._something = asyncio.Event()  # to be pushed
        self._piece_bytes = self._quiet_piece_bytes = 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def detects_speech(self) -> bool:
        """Whether speech is noticed here."""
        return self._ears is not None

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat's own does
        await super().setup(setup)
        pipeline = setup.pipeline_worker
        CallObserver(self._stream.watch, pipeline)

        async def idle(_: Any) -> None:
            self._stream.watch.idle_seen = True

        async def finished(_: Any, frame: Frame) -> None:
            self._stream.is_left_running = isinstance(frame, StopFrame)
            if not self._stream.is_left_running:
                self._stream.pipeline_ended.set()

        pipeline.add_event_handler("on_idle_timeout", idle)
        pipeline.add_event_handler("on_pipeline_finished", finished)
        rate = self._stream.format.sample_rate
        if rate != self.sample_rate:
            self._resampler = Resampler(rate, self.sample_rate)
        if self._vad is not None and not has_speech_detection(pipeline.pipeline):
            self._ears_rate = self.sample_rate if self._params.audio_in_filter else rate
            self._ears = Ears(self._ears_rate, self._vad, self._something.set, self.broadcast_frame)
            self._piece_bytes = self.sample_rate * PIECE_MS // 1000 * 2
            self._quiet_piece_bytes = self.sample_rate * QUIET_PIECE_MS // 1000 * 2
        self._stream.show_pipeline(pipeline)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        if self._ears is not None:
            await self._ears.begin()
        await self._transport.tell_connected()
        await self.push_frame(ClientConnectedFrame())
        if not self._tasks:
            self._tasks = [self.create_task(self._push_heard()), self.create_task(self._receive())]
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
        if self._ears is not None:
            await self._ears.close()
        await self._transport.cleanup()

    async def _stop_receiving(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            await self.cancel_task(task)

    def _create_audio_task(self) -> None:
        """Pipecat's queue and task for each frame are not needed: `_push_heard` does their work."""

    async def push_audio_frame(self, frame: InputAudioRawFrame) -> None:
        """Audio of another's than the line's (a test's, an app's): speech is noticed in it as in the caller's."""
        if self._paused:
            return
        if self._params.audio_in_filter:
            frame.audio = await self._params.audio_in_filter.filter(frame.audio)
        if frame.audio:
            self._notice_speech(frame)
            await self._pass_on(frame)

    def _notice_speech(self, frame: InputAudioRawFrame) -> None:
        pcm = frame.audio if frame.num_channels == 1 else audioop.tomono(frame.audio, 2, 0.5, 0.5)
        if audioop.rms(pcm, 2) > LOUD_RMS:
            self._stream.watch.caller_was_loud(time.monotonic())
        if self._ears is not None:
            self._ears.hear(self._at_ears_rate(pcm, frame.sample_rate))

    def _at_ears_rate(self, pcm: bytes, rate: int) -> bytes:
        if rate == self._ears_rate:
            return pcm
        if self._other_resampler is None or self._other_resampler[0] != rate:
            self._other_resampler = (rate, Resampler(rate, self._ears_rate))
        return self._other_resampler[1].resample(pcm)

    async def _pass_on(self, frame: InputAudioRawFrame) -> None:
        if not self._paused and self._params.audio_in_passthrough:
            await self.push_frame(frame)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if self._ears is None:
            return
        if isinstance(frame, UserMuteStartedFrame | UserMuteStoppedFrame):
            await self._ears.mute(isinstance(frame, UserMuteStartedFrame))
        elif isinstance(frame, VADParamsUpdateFrame):
            await self._ears.change(frame.params)

    # -- the caller's audio

    def _hear(self, event: MediaReceived) -> None:
        """Called 50 times a second: whatever can wait for a piece of audio does."""
        pcm = decode(event.payload, event.format)
        if audioop.rms(pcm, 2) > LOUD_RMS:
            self._stream.watch.caller_was_loud(time.monotonic())
        is_quiet = False
        if self._ears is not None and not self._params.audio_in_filter:
            is_quiet = self._ears.hear(pcm)
        self._heard += pcm if self._resampler is None else self._resampler.resample(pcm)
        enough = self._quiet_piece_bytes if is_quiet else self._piece_bytes
        if len(self._heard) >= enough or self._params.audio_in_filter:
            self._something.set()
            if len(self._heard) > MOST_UNHEARD_S * self.sample_rate * 2:  # late audio is worth less than new audio
                del self._heard[: len(pcm)]
                self._stream.watch.dropped(DropReason.FLOOD)

    async def _push_heard(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            pcm, self._heard = bytes(self._heard), bytearray()
            if pcm and self._params.audio_in_filter:
                pcm = await self._params.audio_in_filter.filter(pcm)
                if self._ears is not None:
                    self._ears.hear(pcm)
            if pcm:
                await self._pass_on(InputAudioRawFrame(audio=pcm, sample_rate=self.sample_rate, num_channels=1))
            if self._ears is not None:
                await self._ears.announce()  # behind the audio that it was found in

    # -- everything else

    async def _receive(self) -> None:
        async for event in self._stream.events(self._hear):
            await self._receive_one(event)
        await self._transport.tell_disconnected()

    async def _receive_one(self, event: Event) -> None:
        match event:
            case MediaReceived():  # from before anybody listened
                self._hear(event)
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


class SFVoPIOutput(BaseOutputTransport):
    """Frames, as what we send to the carrier."""

    def __init__(self, transport: SFVoPITransport, params: TransportParams) -> None:
        super().__init__(params)
        self._transport = transport
        self._stream = transport.stream
        self._speaker = transport.stream.speaker
        self._is_interrupting = False
        self._is_muted = False
        self._told_at = 0.0
        self._keeps_audio = False
        self._has_background = bool(params.audio_out_mixer)
        self._audio_came_at = 0.0
        self._tail: asyncio.TimerHandle | None = None
        self._is_resampling = False  # Pipecat's resampler has a tail of audio in hand
        self._keys: asyncio.Task[None] | None = None  # being pressed

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat's own does
        await super().setup(setup)
        self._keeps_audio = not is_audio_wanted_behind(self, setup.pipeline_worker.pipeline)

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def stop(self, frame: EndFrame) -> None:
        """All that is queued is said and heard before the EndFrame goes on: the stream is closed behind it."""
        for sender in self._media_senders.values():
            await sender._enqueue_flushed_audio_buffer()
        if self._keys is not None:
            await asyncio.wait({self._keys})
        await super().stop(frame)
        await self._speaker.heard()
        self._stream.has_said_all = True
        self._stream.pipeline_ended.set()

    async def cancel(self, frame: CancelFrame) -> None:
        """What is queued is dropped; what was sent is heard, for the line is closed behind it."""
        await super().cancel(frame)
        if self._keys is not None:
            await self.cancel_task(self._keys)
        self._stream.pipeline_ended.set()

    async def cleanup(self) -> None:
        await super().cleanup()
        if self._tail is not None:
            self._tail.cancel()
        if self._keys is not None:
            await self.cancel_task(self._keys)
        await self._transport.cleanup()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            await self._interrupt(frame, direction)
            return
        if isinstance(frame, UserMuteStartedFrame | UserMuteStoppedFrame):
            self._is_muted = isinstance(frame, UserMuteStartedFrame)
        if isinstance(frame, OutputAudioRawFrame):
            now = time.monotonic()
            self._stream.watch.health.sound_came(frame.num_frames / frame.sample_rate, now)
            if isinstance(frame, TTSAudioRawFrame):
                self._stream.watch.turns.tts_spoke(now)
            await super().process_frame(frame, direction)
            self._mind_tail(frame, now)
            return
        if isinstance(frame, MetricsFrame):
            count_usage(frame, self._stream.watch)
        await super().process_frame(frame, direction)

    # -- what fills no chunk

    def _mind_tail(self, frame: OutputAudioRawFrame, now: float) -> None:
        """Pipecat keeps what fills no chunk, and what its resampler has in hand, until more comes or the voice says
        that it has done; the model may pause meanwhile."""
        self._audio_came_at = now
        self._is_resampling = self._is_resampling or frame.sample_rate != self.sample_rate
        if self._tail is None and self._keeps_tail():
            self._tail = asyncio.get_running_loop().call_later(PAUSE_S, self._send_tail)

    def _keeps_tail(self) -> bool:
        sender = self._media_senders.get(None)
        return sender is not None and (self._is_resampling or bool(sender._audio_runs))

    def _send_tail(self) -> None:
        """Queue it, unless more has come just now, or what went before it is still to be played for a while."""
        self._tail = None
        if not self._keeps_tail():
            return
        sender, now = self._media_senders[None], time.monotonic()
        chunk_s = self._speaker.chunk_ms / 1000
        queued_s = sender._audio_queue.qsize() * chunk_s
        # a mixer fills a queue that has run dry with background at once
        waits_s = queued_s - chunk_s if self._has_background else self._speaker.dry_at + queued_s - TAIL_LEAD_S - now
        waits_s = max(waits_s, self._audio_came_at + PAUSE_S - now)
        if waits_s > 0:
            self._tail = asyncio.get_running_loop().call_later(waits_s, self._send_tail)
        else:
            self.create_task(self._queue_tail(sender))

    async def _queue_tail(self, sender: BaseOutputTransport.MediaSender) -> None:
        """Nothing waits here: what comes meanwhile comes behind."""
        self._is_resampling = False
        must_be_heard = bool(sender._audio_runs) and sender._audio_runs[-1][1]
        sender._buffer_audio(await sender._resampler.flush(), uninterruptible=must_be_heard)
        while sender._audio_runs:
            audio, uninterruptible = sender._take_audio_chunk()
            frame = sender._audio_buffer_cls(audio, sample_rate=sender.sample_rate, num_channels=1)
            frame.interruptible = not uninterruptible
            sender._audio_queue.put_nowait(frame)

    async def _interrupt(self, frame: Frame, direction: FrameDirection) -> None:
        """clearAudio first, whatever is queued; what is queued is dropped behind it."""
        self._is_interrupting = True
        try:
            quiet_at = self._speaker.quiet_at
            if await self._speaker.clear() or quiet_at <= time.monotonic():  # else it is speech that must be heard
                unheard = self._stream.hearing.unheard if self._stream.keeping is not None else ()
                self._stream.watch.bot_cut(quiet_at, unheard)
            self._stream.sentences_interrupted()
            await super().process_frame(frame, direction)
        finally:
            self._is_interrupting = False

    async def broadcast_frame(self, frame_cls: type[Frame], **fields: Any) -> None:
        if frame_cls is BotSpeakingFrame and not self._is_muted:  # a mute may end with it
            now = time.monotonic()
            if now - self._told_at < BOT_SPEAKS_EVERY_S:
                return
            self._told_at = now
        await super().broadcast_frame(frame_cls, **fields)

    async def push_frame(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        if self._keeps_audio and isinstance(frame, OutputAudioRawFrame):
            return
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

    async def write_dtmf(self, frame: OutputDTMFFrame | OutputDTMFUrgentFrame) -> None:
        """Each key as one tone with a gap behind it: a machine reads one that is cut into pieces as several."""
        rate = self._stream.format.sample_rate
        tones = b"".join([await load_dtmf_audio(key, sample_rate=rate) for key in frame.buttons or ()])
        if isinstance(frame, OutputDTMFFrame):
            await self._speaker.say_whole(tones)
            return
        before = self._keys  # the urgent kind does not wait here: an interruption would wait behind it

        async def press() -> None:
            if before is not None:
                await asyncio.wait({before})
            await self._speaker.say_whole(tones)

        self._keys = self.create_task(press())

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        if self._has_background and type(frame) is OutputAudioRawFrame:  # the mixer's own, while the bot is silent
            if await self._speaker.play_background(frame.audio):
                return True
            await asyncio.sleep(self._speaker.chunk_ms / 1000)  # Pipecat asks the mixer for the next one at once
            return False
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
