"""What a bot does when its call is over: the caller does not wait for it, and it is left to finish, within limits.

A summary of 8 s in `on_client_disconnected` used to be cut after 1 s, one behind `runner.run()` after 5 s; a bot that
said goodbye and then worked held the line open, silent, and its call was recorded as failed.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from pipecat.frames.frames import EndFrame, Frame, TTSAudioRawFrame, TTSStartedFrame, TTSStoppedFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.base_worker import BaseWorker
from pipecat.workers.runner import WorkerRunner

from shared.calls.outcome import Reason
from worker.pipeline.transport import SFVoPITransport

WORK_S = 1.5


class Speaking:
    """A bot that speaks for a second, and what it did."""

    def __init__(
        self, arguments: Any, *behind: FrameProcessor, before: tuple[FrameProcessor, ...] = (), seconds: float = 1.0
    ) -> None:
        self.transport = SFVoPITransport.for_call(arguments)
        self.done: list[str] = []
        self.pipeline = PipelineWorker(
            Pipeline([self.transport.input(), *before, self.transport.output(), *behind]),
            params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
            enable_rtvi=False,
            enable_turn_tracking=False,
        )
        self.runner = WorkerRunner(handle_sigint=False)
        self.seconds = seconds

        @self.transport.event_handler("on_client_connected")
        async def greet(*_: Any) -> None:
            await self.greet()

    async def greet(self) -> None:
        await self.speak()

    async def speak(self) -> None:
        audio = b"\x10\x20" * round(8000 * self.seconds)
        frames = [TTSStartedFrame(), TTSAudioRawFrame(audio, 8000, 1), TTSStoppedFrame()]
        await self.pipeline.queue_frames(frames)

    async def work(self, what: str, seconds: float = WORK_S) -> None:
        await asyncio.sleep(seconds)
        self.done.append(what)

    async def run(self, *helpers: BaseWorker) -> None:
        await self.runner.add_workers(self.pipeline, *helpers)
        await self.runner.run()


class Goodbye(Speaking):
    """Says goodbye as soon as it is connected."""

    async def greet(self) -> None:
        await self.speak()
        await self.pipeline.queue_frame(EndFrame())


Place = Callable[..., Any]


@pytest.fixture
def bot_of(fleet: Any) -> Place:
    """Make a function the bot of the calls to `test:after`; returns what it makes."""

    def place(make: Callable[[Any], Speaking], act: Callable[[Speaking], Any]) -> list[Speaking]:
        made: list[Speaking] = []

        async def bot(arguments: Any) -> None:
            made.append(make(arguments))
            await act(made[-1])

        fleet.bots.bots["test:after"] = bot
        return made

    return place


async def placed(fleet: Any, call_id: str = "call-1") -> Any:
    carrier = await fleet.call(call_id, bot="test:after")
    await fleet.app.sessions.get(call_id).stream.watch.pipeline_started.wait()
    return carrier


async def test_a_line_is_closed_when_the_goodbye_was_heard_though_the_bot_works_on(fleet, until, bot_of):
    async def act(bot: Speaking) -> None:
        await bot.run()
        await bot.work("summary")

    made = bot_of(Goodbye, act)
    carrier = await placed(fleet)
    await until(lambda: carrier.heard_s == 1.0)
    assert await carrier.closed(2.5) == 1000
    await until(lambda: not len(fleet.app.sessions))
    assert (await fleet.registry.get("call-1")).reason == Reason.BOT_ENDED
    assert made[0].done == []
    assert len(fleet.app.afterwards) == 1
    assert (await fleet.ended()).detail == ""
    assert made[0].done == ["summary"]
    assert fleet.count("sfvopi_stuck_sessions_total", step="cancelled") == 0


async def in_its_handler(bot: Speaking) -> None:
    @bot.transport.event_handler("on_client_disconnected")
    async def gone(*_: Any) -> None:
        await bot.work("handler")
        await bot.pipeline.cancel()

    await bot.run()


async def in_a_handler_that_does_not_end_the_pipeline(bot: Speaking) -> None:
    @bot.transport.event_handler("on_client_disconnected")
    async def gone(*_: Any) -> None:
        await bot.work("handler")

    await bot.run()


async def behind_its_run(bot: Speaking) -> None:
    await bot.run()
    await bot.work("behind")


async def in_a_task(bot: Speaking) -> None:
    @bot.transport.event_handler("on_client_disconnected")
    async def gone(*_: Any) -> None:
        bot.task = asyncio.create_task(bot.work("task"))  # type: ignore[attr-defined]
        await bot.pipeline.cancel()

    await bot.run()


async def in_a_handler_of_the_pipelines_end(bot: Speaking) -> None:
    @bot.pipeline.event_handler("on_pipeline_finished")
    async def finished(*_: Any) -> None:
        await bot.work("finished")

    await bot.run()


async def in_a_finally(bot: Speaking) -> None:
    try:
        await bot.run()
    finally:
        await bot.work("finally")


@pytest.mark.parametrize(
    "act",
    [
        in_its_handler,
        in_a_handler_that_does_not_end_the_pipeline,
        behind_its_run,
        in_a_task,
        in_a_handler_of_the_pipelines_end,
        in_a_finally,
    ],
)
async def test_work_after_a_hangup_is_done_wherever_it_stands(start_worker, until, act):
    fleet = await start_worker(reconnect_window_s=0, cancel_grace_s=0.5, after_call_s=5)
    made: list[Speaking] = []

    async def bot(arguments: Any) -> None:
        made.append(Speaking(arguments))
        await act(made[-1])

    fleet.bots.bots["test:after"] = bot
    carrier = await placed(fleet)
    hung_up_at = time.monotonic()
    await carrier.hang_up()
    await until(lambda: not len(fleet.app.sessions))
    assert time.monotonic() - hung_up_at < 1.0, "the slot was not free"
    await fleet.ended()
    assert made[0].done
    assert fleet.count("sfvopi_stuck_sessions_total", step="cancelled") == 0
    assert fleet.count("sfvopi_work_after_call_cut_total", why="limit") == 0


async def test_work_that_takes_too_long_is_cut_counted_and_told_in_the_record(start_worker):
    fleet = await start_worker(reconnect_window_s=0, after_call_s=0.5)
    made: list[Speaking] = []

    async def bot(arguments: Any) -> None:
        made.append(Speaking(arguments))
        await made[-1].run()
        await made[-1].work("endless", 3600)

    fleet.bots.bots["test:after"] = bot
    carrier = await placed(fleet)
    await carrier.hang_up()
    record = await fleet.ended()
    assert record.reason == Reason.STREAM_CLOSED
    assert "work after the call was cut" in record.detail
    assert "limit" in record.detail
    assert fleet.count("sfvopi_work_after_call_cut_total", why="limit") == 1
    assert not made[0].done


async def test_the_oldest_makes_room_for_the_next_and_calls_are_taken_all_the_while(start_worker, until):
    fleet = await start_worker(calls_per_worker=1, reconnect_window_s=0, after_call_s=30)

    async def bot(arguments: Any) -> None:
        speaking = Speaking(arguments)
        await speaking.run()
        await speaking.work("endless", 3600)

    fleet.bots.bots["test:after"] = bot
    for number in range(3):
        carrier = await placed(fleet, f"call-{number}")
        await carrier.hang_up()
        await until(lambda: not len(fleet.app.sessions))
        await until(lambda number=number: len(fleet.app.afterwards) == min(number + 1, 2))
        assert fleet.count("sfvopi_work_after_call_cut_total", why="crowded") == (number == 2)
    assert "crowded" in (await fleet.registry.get("call-0")).detail
    assert (await fleet.registry.get("call-1")).detail == "the stream did not come back"


async def test_a_drain_waits_for_work_after_calls(start_worker, until):
    fleet = await start_worker(reconnect_window_s=0, after_call_s=5)
    made: list[Speaking] = []

    async def bot(arguments: Any) -> None:
        made.append(Speaking(arguments))
        await made[-1].run()
        await made[-1].work("summary")

    fleet.bots.bots["test:after"] = bot
    carrier = await placed(fleet)
    await carrier.hang_up()
    await until(lambda: len(fleet.app.afterwards))
    await asyncio.wait_for(fleet.app.drain(), 5)
    assert made[0].done == ["summary"]


async def test_a_process_that_is_stopped_cuts_work_after_calls_and_says_so(start_worker, until):
    fleet = await start_worker(reconnect_window_s=0, after_call_s=60)

    async def bot(arguments: Any) -> None:
        speaking = Speaking(arguments)
        await speaking.run()
        await speaking.work("endless", 3600)

    fleet.bots.bots["test:after"] = bot
    carrier = await placed(fleet)
    await carrier.hang_up()
    await until(lambda: len(fleet.app.afterwards))
    began_at = time.monotonic()
    await fleet.app.stop()
    assert time.monotonic() - began_at < 5
    assert "stopped" in (await fleet.registry.get("call-1")).detail


async def test_the_main_worker_of_several_ends_the_call_and_the_others_end_with_it(fleet, until, bot_of):
    class Waits(BaseWorker):
        """Waits for messages, as a helper does, and never ends by itself."""

        async def run(self, params: Any) -> None:
            await super().run(params)

    async def act(bot: Speaking) -> None:
        await bot.run(Waits("helper"))
        bot.done.append("returned")

    made = bot_of(Goodbye, act)
    carrier = await placed(fleet)
    assert await carrier.closed(3) == 1000
    assert carrier.heard_s == 1.0
    assert (await fleet.ended()).reason == Reason.BOT_ENDED
    assert made[0].done == ["returned"]
    assert fleet.count("sfvopi_work_after_call_cut_total", why="limit") == 0


async def ends_through_the_bus(bot: Speaking) -> None:
    """As a tool does with `params.pipeline_worker.end()`."""

    @bot.transport.event_handler("on_client_connected")
    async def connected(*_: Any) -> None:
        await asyncio.sleep(0.4)
        await bot.pipeline.end(reason="done")

    await bot.run()


async def cancels(bot: Speaking) -> None:
    @bot.transport.event_handler("on_client_connected")
    async def connected(*_: Any) -> None:
        await asyncio.sleep(0.4)
        await bot.pipeline.cancel()

    await bot.run()


async def cancels_its_runner(bot: Speaking) -> None:
    @bot.transport.event_handler("on_client_connected")
    async def connected(*_: Any) -> None:
        await asyncio.sleep(0.4)
        await bot.runner.cancel()

    await bot.run()


async def returns(bot: Speaking) -> None:
    running = asyncio.create_task(bot.run())
    await asyncio.sleep(0.6)
    assert not running.done()


@pytest.mark.parametrize("act", [ends_through_the_bus, cancels, cancels_its_runner, returns])
async def test_what_was_sent_plays_out_before_the_line_is_closed(fleet, until, bot_of, act):
    bot_of(lambda arguments: Speaking(arguments, seconds=3.0), act)
    carrier = await placed(fleet)
    await until(lambda: carrier.heard_s > 0)
    first_at = next(at for at, message in carrier.heard if message["event"] == "playAudio")
    assert await carrier.closed(8) == 1000
    assert time.monotonic() - first_at >= carrier.heard_s, "closed while the carrier was still playing"
    assert [message["event"] for _, message in carrier.heard][-1] == "checkpoint"
    record = await fleet.ended()
    assert (record.reason, record.detail) == (Reason.BOT_ENDED, "")


async def test_nothing_is_sent_to_a_caller_who_has_hung_up(fleet, until, bot_of):
    async def act(bot: Speaking) -> None:
        @bot.transport.event_handler("on_client_disconnected")
        async def gone(*_: Any) -> None:
            await bot.speak()
            await bot.pipeline.queue_frame(EndFrame())

        await bot.run()

    bot_of(lambda arguments: Speaking(arguments, seconds=10.0), act)
    carrier = await placed(fleet)
    await until(lambda: carrier.heard_s > 0.3)
    fleet.app.sessions.get("call-1").end(Reason.CALLER_HUNG_UP)
    assert await carrier.closed(1) == 1000
    heard_s = carrier.heard_s
    assert not carrier.events("checkpoint")
    await fleet.ended()
    assert carrier.heard_s == heard_s


async def test_a_bot_that_breaks_after_its_call_leaves_the_call_as_it_was(fleet, bot_of):
    async def act(bot: Speaking) -> None:
        await bot.run()
        await bot.work("half", 0.5)
        raise RuntimeError("the CRM is away")

    bot_of(Goodbye, act)
    carrier = await placed(fleet)
    assert await carrier.closed(3) == 1000
    record = await fleet.ended()
    assert record.reason == Reason.BOT_ENDED
    assert record.detail == "after the call, the bot raised RuntimeError"


async def test_a_bot_that_cancels_and_raises_has_failed_and_apologises(fleet, bot_of):
    async def act(bot: Speaking) -> None:
        running = asyncio.create_task(bot.run())
        await asyncio.sleep(0.5)
        await bot.pipeline.cancel()
        await running
        raise RuntimeError("a bot's own mistake")

    bot_of(Speaking, act)
    carrier = await placed(fleet)
    assert await carrier.closed(8) == 1000
    assert (await fleet.ended()).reason == Reason.BOT_ERROR


@pytest.mark.parametrize("ends_itself", [True, False])
async def test_a_recording_is_uploaded_when_the_line_is_closed(start_worker, until, ends_itself):
    fleet = await start_worker(reconnect_window_s=0, cancel_grace_s=0.5, after_call_s=5)
    made: list[Speaking] = []

    async def bot(arguments: Any) -> None:
        recorder = AudioBufferProcessor(sample_rate=8000, num_channels=2, auto_start_recording=True)
        made.append((Goodbye if ends_itself else Speaking)(arguments, recorder))

        @recorder.event_handler("on_audio_data")
        async def recorded(*_: Any) -> None:
            await made[-1].work("uploaded")

        await made[-1].run()

    fleet.bots.bots["test:after"] = bot
    carrier = await placed(fleet)
    await until(lambda: carrier.heard_s > 0.5)
    if not ends_itself:
        await carrier.hang_up()
    await until(lambda: not len(fleet.app.sessions))
    assert made[0].done == []
    await fleet.ended()
    assert made[0].done == ["uploaded"]
    assert fleet.count("sfvopi_stuck_sessions_total", step="cancelled") == 0


async def test_a_bot_whose_call_goes_on_elsewhere_is_not_told_that_the_caller_has_gone(fleet, until, bot_of):
    async def act(bot: Speaking) -> None:
        @bot.transport.event_handler("on_client_disconnected")
        async def gone(*_: Any) -> None:
            bot.done.append("told")

        await bot.run()
        bot.done.append("handed over" if bot.transport.is_handed_over else "over")

    made = bot_of(Speaking, act)
    carrier = await placed(fleet)
    await until(lambda: carrier.heard_s > 0.3)
    fleet.app.sessions.get("call-1").hand_over("another")
    await until(lambda: not len(fleet.app.sessions) and not len(fleet.app.afterwards))
    assert made[0].done == ["handed over"]


async def test_a_pipeline_that_waits_for_a_handler_is_not_stuck(start_worker, until):
    """Its goodbye was heard: the line is closed after the grace, and the handler is left to finish."""
    fleet = await start_worker(end_grace_s=0.3, after_call_s=5)
    made: list[Speaking] = []

    class Waits(FrameProcessor):
        """Lets the EndFrame pass when its bot has done its work."""

        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, EndFrame):
                await until(lambda: made[0].done, 10)
            await self.push_frame(frame, direction)

    async def bot(arguments: Any) -> None:
        made.append(Goodbye(arguments, before=(Waits(),)))

        @made[-1].pipeline.event_handler("on_pipeline_started")
        async def started(*_: Any) -> None:
            await made[-1].work("handled", 4)

        await made[-1].run()

    fleet.bots.bots["test:after"] = bot
    carrier = await placed(fleet)
    assert await carrier.closed(6) == 1000
    assert not made[0].done
    assert (await fleet.ended()).reason == Reason.BOT_ENDED
    assert made[0].done == ["handled"]
