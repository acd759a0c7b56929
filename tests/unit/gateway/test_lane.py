"""The lane between the two ends of a leg, with its time in our hand."""

import asyncio

import pytest

from gateway.lane import MAX_BYTES, Lane, LaneOverflow, is_sound, is_start

MEDIA = '{"event":"media","streamId":"s","media":{"payload":"1dXV","contentType":"audio/PCMA","sampleRate":8000}}'
PLAY = '{"event":"playAudio","media":{"payload":"1dXV","contentType":"audio/PCMA","sampleRate":8000}}'
START = '{"event":"start","streamId":"s","callId":"c"}'
DTMF = '{"event":"dtmf","streamId":"s","digit":"5"}'


class Dropped:
    count = 0

    def __call__(self, frames: int) -> None:
        self.count += frames


def make_lane() -> tuple[Lane, Dropped]:
    dropped = Dropped()
    return Lane(dropped, lambda: 0.0), dropped


def test_only_sound_may_be_dropped() -> None:
    assert is_sound(MEDIA)
    assert is_sound(PLAY)
    assert is_sound(b"\x00")
    for frame in (START, DTMF, '{"event":"checkpoint","streamId":"s","name":"x"}', "junk", ""):
        assert not is_sound(frame)
    assert not is_sound('{"event":"start","start":{"streamId":"s"},"payload":1}')


def test_the_start_is_known_by_its_look() -> None:
    for frame in (START, '{ "streamId": "s", "event" : "start" }', '{"event":"start","start":{"streamId":"s"}}'):
        assert is_start(frame)
    for other in (MEDIA, DTMF, '{"event":"dtmf","digit":"start"}', "start", "", START.encode()):
        assert not is_start(other)


def test_a_lane_without_a_far_end_keeps_the_newest_three_seconds_for_the_next_one() -> None:
    lane, dropped = make_lane()
    lane.hold()
    lane.put(DTMF, 0.0)
    for n in range(250):  # five seconds
        lane.put(MEDIA, n * 0.02)
    lane.go_on(5.0)
    assert lane.take(5.1) == DTMF
    kept = 0
    while lane.take(5.1):
        kept += 1
    assert 149 <= kept <= 151
    assert dropped.count == 250 - kept
    lane.put(MEDIA, 6.0)
    assert lane.take(6.3) is None  # and again, sound that is late is dropped


def test_frames_come_out_as_they_went_in() -> None:
    lane, dropped = make_lane()
    for frame in (START, MEDIA, DTMF):
        lane.put(frame, 0.0)
    assert [lane.take(0.1) for _ in range(4)] == [START, MEDIA, DTMF, None]
    assert (dropped.count, lane.waiting_bytes) == (0, 0)


def test_sound_that_waited_for_200_ms_is_dropped_oldest_first_and_all_else_kept_in_order() -> None:
    lane, dropped = make_lane()
    lane.put(START, 0.0)
    for n in range(100):  # two seconds of a far end that takes nothing
        lane.put(MEDIA.replace("1dXV", f"{n:04}"), n * 0.02)
        if n == 50:
            lane.put(DTMF, n * 0.02)
    assert len(lane) <= 2 + 11
    assert dropped.count >= 100 - 11
    left = []
    while (frame := lane.take(1.98)) is not None:
        left.append(frame)
    assert left[:2] == [START, DTMF]
    assert [frame.split('"payload":"')[1][:4] for frame in left[2:]] == [f"{n:04}" for n in range(89, 100)]


def test_what_is_late_when_it_is_taken_is_not_sent() -> None:
    lane, dropped = make_lane()
    lane.put(MEDIA, 0.0)
    assert lane.take(0.3) is None
    assert dropped.count == 1


def test_a_burst_is_held_as_long_as_it_is_fresh() -> None:
    lane, dropped = make_lane()
    for _ in range(50):  # a second of greeting in one tick
        lane.put(PLAY, 0.0)
    assert (len(lane), dropped.count) == (50, 0)


def test_a_flood_of_large_frames_is_bounded_by_bytes() -> None:
    lane, dropped = make_lane()
    for _ in range(100):
        lane.put('{"payload":"' + "x" * 60_000 + '"}', 0.0)
    assert lane.waiting_bytes <= MAX_BYTES
    assert dropped.count == 100 - len(lane)


def test_a_flood_of_what_must_not_be_dropped_ends_the_lane_within_its_bounds() -> None:
    lane, _ = make_lane()

    def flood() -> None:
        for _ in range(MAX_BYTES):
            lane.put("{}", 0.0)

    with pytest.raises(LaneOverflow):
        flood()
    assert len(lane) < 5000


async def test_a_finished_lane_gives_what_it_has_and_then_ends() -> None:
    lane, _ = make_lane()
    waiting = asyncio.create_task(lane.next())
    await asyncio.sleep(0)
    lane.put(START, 0.0)
    lane.put(DTMF, 0.0)
    lane.finish()
    assert [await waiting, await lane.next(), await lane.next()] == [START, DTMF, None]


async def test_while_somebody_waits_frames_go_straight_and_none_overtakes_one_that_has_to_wait() -> None:
    lane, _ = make_lane()
    straight: list[object] = []
    takes = True

    def offered(frame: object) -> bool:
        if takes:
            straight.append(frame)
        return takes

    lane.put("before anybody waits", 0.0)
    assert await lane.next(offered) == "before anybody waits"
    waiting = asyncio.create_task(lane.next(offered))
    await asyncio.sleep(0)
    lane.put("a", 0.0)
    lane.put("b", 0.0)
    takes = False  # the far end is slow now
    lane.put("c", 0.0)
    takes = True
    lane.put("d", 0.0)  # behind c, whoever could take it
    assert straight == ["a", "b"]
    assert await waiting == "c"
    lane.put("e", 0.0)  # c is still on its way: nobody waits
    assert [lane.take(0.0), lane.take(0.0), lane.take(0.0)] == ["d", "e", None]
    assert straight == ["a", "b"]


async def test_a_far_end_that_is_gone_is_offered_nothing() -> None:
    lane, _ = make_lane()
    straight: list[object] = []
    waiting = asyncio.create_task(lane.next(lambda frame: straight.append(frame) or True))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    lane.put("kept for the next one", 0.0)
    assert straight == []
    assert await lane.next() == "kept for the next one"
