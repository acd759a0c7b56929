"""What the caller hears, and when: pace, interruptions, checkpoints, keys."""

import asyncio
import base64
import time

import pytest
from pipecat.frames.frames import InputDTMFFrame, InputTransportMessageFrame


async def test_audio_leaves_a_little_ahead_of_real_time_and_no_more(fleet, until):
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.press("1")
    await until(lambda: carrier.heard_s == 1.0)
    sent = [at for at, message in carrier.heard if message["event"] == "playAudio"]
    ahead = [(i + 1) * 0.1 - (at - sent[0]) for i, at in enumerate(sent)]
    assert max(ahead) < 0.21
    assert min(ahead[2:]) > 0.1, "the lead is kept"
    assert sent[1] - sent[0] < 0.07, "paced, it would take 0.1 s: the first chunks go at once"


@pytest.mark.parametrize("chunk_ms", [20, 40, 100])
async def test_a_chunk_is_as_long_as_the_carrier_wants_it(start_worker, until, chunk_ms):
    fleet = await start_worker(send_chunk_ms=chunk_ms)
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.press("1")
    await until(lambda: carrier.heard_s == 1.0)
    sizes = {len(message["media"]["payload"]) for _, message in carrier.heard if message["event"] == "playAudio"}
    assert sizes == {len(base64.b64encode(bytes(8 * chunk_ms)))}


async def test_an_interruption_clears_at_once_and_nothing_stale_follows(fleet, until):
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.press("8")
    await until(lambda: carrier.heard_s > 0.5)
    at = time.monotonic()
    await carrier.press("6")
    await until(lambda: carrier.events("clearAudio"))
    assert time.monotonic() - at < 0.5
    assert carrier.events("clearAudio") == [{"event": "clearAudio", "streamId": "S1", "sequenceNumber": 1}]
    await asyncio.sleep(0.3)
    assert carrier.heard[-1][1]["event"] == "clearAudio"
    await carrier.press("1")
    await until(lambda: carrier.heard[-1][1]["event"] == "playAudio")


async def test_an_interruption_with_nothing_to_take_back_sends_no_clear(fleet):
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.press("6")
    await carrier.press("1")
    await asyncio.sleep(0.3)
    assert not carrier.events("clearAudio")


async def test_speech_that_must_be_heard_is_not_cleared(fleet, until):
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.press("2")
    await until(lambda: carrier.heard_s > 0.3)
    await carrier.press("6")
    await until(lambda: carrier.heard_s == 1.0)
    assert not carrier.events("clearAudio")


async def test_a_checkpoint_follows_its_audio_and_its_answer_reaches_the_bot(fleet, until):
    carrier = await fleet.call()
    scripted = await fleet.scripted()
    await carrier.press("4")
    await until(lambda: carrier.events("checkpoint"))
    assert carrier.heard_s == 0.4, "behind the audio"
    assert carrier.events("checkpoint") == [{"event": "checkpoint", "streamId": "S1", "name": "said"}]
    await carrier.send({"event": "playedStream", "name": "said"}, {"event": "clearedAudio", "sequenceNumber": 7})
    await until(lambda: len([f for f in scripted.seen if isinstance(f, InputTransportMessageFrame)]) == 2)
    messages = [f.message for f in scripted.seen if isinstance(f, InputTransportMessageFrame)]
    assert messages == [
        {"event": "playedStream", "name": "said"},
        {"event": "clearedAudio", "sequenceNumber": 7},
    ]


async def test_keys_reach_the_bot_and_no_log_or_timeline_holds_them(fleet, until):
    carrier = await fleet.call()
    scripted = await fleet.scripted()
    await carrier.press("9")
    await carrier.press("A")  # which few telephones have, and Pipecat does not know
    await until(lambda: [f for f in scripted.seen if isinstance(f, InputDTMFFrame)])
    await carrier.press("3")
    await carrier.closed()
    await fleet.ended()
    assert ("digit", {}) in await fleet.timeline()


async def test_a_16_khz_pipeline_hears_and_says_the_same(fleet, until, LOUD):
    carrier = await fleet.call(bot="test:echo16")
    await fleet.app.sessions.all()[0].stream.watch.pipeline_started.wait()
    talking = carrier.talk(LOUD)
    await until(lambda: carrier.heard_s > 0.5)
    talking.cancel()


async def test_figures_stand_in_the_record_and_in_the_metrics(fleet, until, LOUD):
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.press("8")
    await until(lambda: carrier.heard_s > 0.3)
    talking = carrier.talk(LOUD)
    await asyncio.sleep(0.2)
    await carrier.press("6")
    await until(lambda: carrier.events("clearAudio"))
    talking.cancel()
    await carrier.press("3")
    await carrier.closed()
    figures = (await fleet.ended()).figures
    assert 0 < figures["first_audio_ms"] < 2000
    assert 150 < figures["barge_in_ms"] < 1500
    assert 0 <= figures["frame_lateness_ms"] < 500
    assert figures["attach_ms"] >= 0
    assert fleet.count("sfvopi_first_audio_seconds_count") == 1
    assert fleet.count("sfvopi_barge_in_seconds_count") == 1
    assert fleet.count("sfvopi_frame_lateness_seconds_count") == 1
    assert fleet.count("sfvopi_call_seconds_count") == 1
    wire = [data for event, data in await fleet.timeline() if event == "wire"]
    assert len(wire) == 1
    assert wire[0]["received"]["media"] >= 8
    assert wire[0]["sent"]["playAudio"] >= 1
    assert 0 < wire[0]["longest_gap_ms"] < 5000


@pytest.mark.parametrize("transcripts", [True, False])
async def test_texts_enter_the_timeline_only_when_asked_for(start_worker, LOUD, transcripts):
    fleet = await start_worker(transcripts=transcripts)
    carrier = await fleet.call()
    await fleet.scripted()
    talking = carrier.talk(LOUD)
    await asyncio.sleep(0.1)
    await carrier.press("0")
    talking.cancel()
    await asyncio.sleep(0.6)
    await carrier.press("3")
    await carrier.closed()
    figures = (await fleet.ended()).figures
    assert figures["turns"] == 1
    assert figures["turn_ms"] < 1500
    said = {event: data for event, data in await fleet.timeline() if event in ("caller_said", "bot_said", "digit")}
    heard = {"text": "what was heard"} if transcripts else {}
    spoken = {"text": "what was said"} if transcripts else {}
    assert said["caller_said"] == {"words": 3, **heard}
    assert said["bot_said"] == {"words": 3, **spoken}
    assert said["digit"] == ({"digit": "3"} if transcripts else {})
    assert fleet.count("sfvopi_turn_seconds_count", stage="total") == 1


async def test_a_sentence_that_was_cut_short_stands_in_the_timeline_as_such(start_worker, until):
    fleet = await start_worker(transcripts=True)
    carrier = await fleet.call()
    await fleet.scripted()
    await carrier.press("*")
    await until(lambda: carrier.heard_s > 0.3)
    await carrier.press("6")
    await until(lambda: carrier.events("clearAudio"))
    await carrier.press("3")
    await carrier.closed()
    await fleet.ended()
    said = [data for event, data in await fleet.timeline() if event == "bot_said"]
    (cut,) = said
    assert 0 < cut.pop("heard_s") < 2
    assert cut == {"words": 4, "text": "this is cut short", "cut": True, "heard_words": 0, "heard": ""}
