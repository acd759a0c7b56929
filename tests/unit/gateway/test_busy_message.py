"""The busy message: a call that cannot be placed hears the gateway itself."""

import asyncio
import audioop
import time
import wave
from pathlib import Path
from typing import Any

import pytest
import websockets

import gateway
from gateway import busy
from gateway.prompt import Prompt, read_busy_prompt
from shared.calls.state import CallState
from shared.settings import SettingsError
from shared.sfvopi.formats import AudioFormat, Codec
from shared.sfvopi.g711 import decode
from shared.sfvopi.messages import PlayAudio
from shared.sfvopi.parse import parse_command

START = '{"event":"start","streamId":"s","callId":"x"}'
FORMATS = [
    AudioFormat(),
    AudioFormat(Codec.PCMU),
    AudioFormat(Codec.L16, 8000),
    AudioFormat(Codec.L16, 16000),
    AudioFormat(Codec.L16, 44100),
]


def write_wav(path: Path, seconds: float, *, rate: int = 8000, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(channels)
        wav.setsampwidth(width)
        wav.setframerate(rate)
        wav.writeframes(b"\x10\x20"[:width] * int(seconds * rate) * channels)
    return path


async def hear(url: str, *, says: str | None = START) -> tuple[bytes, int, list[float]]:
    """The audio as it was sent, the close code, and when each frame came."""
    heard, times = b"", []
    async with asyncio.timeout(10), websockets.connect(url) as stream:
        if says:
            await stream.send(says)
        try:
            while True:
                message = parse_command(await stream.recv())
                assert isinstance(message, PlayAudio)
                heard += message.payload
                times.append(time.monotonic())
        except websockets.ConnectionClosed as closed:
            return heard, closed.rcvd.code if closed.rcvd else 1006, times


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f"{f.codec}-{f.sample_rate}")
async def test_whom_the_primary_refused_hears_the_message_in_the_calls_own_format(
    open_house: Any, tmp_path: Path, format: AudioFormat
) -> None:
    path = write_wav(tmp_path / "busy.wav", 0.5)
    house = await open_house(busy_wav=path, codec=str(format.codec), sample_rate=format.sample_rate)
    assert (await house.post("answer", {"call_uuid": "c-1"})).status_code == 503
    answer = await house.answer("c-1", "fallback")
    assert answer.format == format
    heard, code, _ = await hear(answer.url)
    assert code == 1000
    assert format.duration_ms(len(heard)) == pytest.approx(500, abs=21)
    samples = decode(heard[: format.frame_bytes], format)
    assert audioop.avg(samples, 2) == pytest.approx(0x2010, rel=0.05)  # the wrong law would be far off
    record = await house.registry.get("c-1")
    assert (record.state, record.reason, record.result) == (CallState.ENDED, "busy_message", "refused")
    assert house.metric("sfvopi_calls_total", result="refused", reason="busy_message") == 1
    assert house.metric("sfvopi_admissions_total", result="busy_message") == 1
    assert house.gateway.streams.open_legs == 0


async def test_it_is_sent_at_the_pace_of_its_playing(open_house: Any, tmp_path: Path) -> None:
    house = await open_house(busy_wav=write_wav(tmp_path / "busy.wav", 1.0))
    _, _, times = await hear((await house.answer("c-1", "fallback")).url)
    assert 0.7 <= times[-1] - times[0] <= 1.2


async def test_a_carrier_that_says_nothing_hears_it_too(
    open_house: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.busy.START_DEADLINE_S", 0.1)
    house = await open_house(busy_wav=write_wav(tmp_path / "busy.wav", 0.1))
    heard, code, _ = await hear((await house.answer("c-1", "fallback")).url, says=None)
    assert (len(heard), code) == (800, 1000)


async def test_with_the_registry_away_it_is_heard_and_the_call_recorded_as_soon_as_it_can_be(
    open_house: Any, tmp_path: Path
) -> None:
    house = await open_house(busy_wav=write_wav(tmp_path / "busy.wav", 0.1))
    house.registry.is_away = True
    answer = await house.answer("c-1", "fallback")
    heard, code, _ = await hear(answer.url)
    assert (len(heard), code) == (800, 1000)
    house.registry.is_away = False
    assert await house.registry.get("c-1") is None
    await hear(answer.url)
    await house.until(lambda: house.metric("sfvopi_calls_total", result="refused", reason="busy_message") == 1)
    assert (await house.registry.get("c-1")).reason == "busy_message"


async def test_a_caller_who_leaves_early_leaves_nothing_behind(house: Any) -> None:
    answer = await house.answer("c-1", "fallback")
    async with house.connect(answer.url) as stream:
        await stream.send(START)
        await stream.recv()
        assert house.gateway.streams.open_legs == 1
    await house.until(lambda: house.gateway.streams.open_legs == 0)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("busy:")]


async def test_the_hangup_after_a_busy_message_keeps_its_reason(house: Any) -> None:
    await house.answer("c-1", "fallback")
    await house.post("hangup", {"call_uuid": "c-1", "call_status": "COMPLETED", "duration": 4})
    record = await house.registry.get("c-1")
    assert (record.reason, record.carrier_duration_s) == ("busy_message", 4.0)
    assert house.metric("sfvopi_calls_total", result="refused", reason="busy_message") == 1


async def test_the_fallback_asked_twice_says_busy_twice(house: Any) -> None:
    await house.answer("c-1", "fallback")
    await house.answer("c-1", "fallback")
    assert house.metric("sfvopi_calls_total", result="refused", reason="busy_message") == 1


def test_our_own_message_is_in_the_package_short_and_loud_enough() -> None:
    prompt = read_busy_prompt(None)
    assert 1 < prompt.duration_s < 6
    assert Path(gateway.__file__).parent.joinpath("prompts/busy.wav").stat().st_size < 100_000
    frames = prompt.frames(AudioFormat())
    audio = b"".join(parse_command(frame).payload for frame in frames)  # type: ignore[union-attr]
    assert audioop.max(decode(audio, AudioFormat()), 2) > 8000


def test_it_is_encoded_once_per_format() -> None:
    prompt = Prompt(b"\x00\x10" * 100, 8000)
    assert prompt.frames(AudioFormat()) is prompt.frames(AudioFormat())
    [frame] = prompt.frames(AudioFormat())
    payload = parse_command(frame).payload  # type: ignore[union-attr]
    assert payload[100:] == b"\xd5" * 60  # filled up with the law's own silence


@pytest.mark.parametrize("wrong", [{"channels": 2}, {"width": 1}, {"seconds": 0}, {"seconds": 61}])
def test_a_wav_of_the_wrong_kind_is_refused_with_what_is_needed(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = write_wav(tmp_path / "x.wav", **({"seconds": 1} | wrong))
    with pytest.raises(SettingsError, match="mono 16-bit"):
        read_busy_prompt(path)
    with pytest.raises(SettingsError, match="cannot read"):
        read_busy_prompt(tmp_path / "none.wav")


async def test_a_carrier_that_takes_no_frame_keeps_no_gateway_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy message had no deadline: a peer that answered pings and read nothing held its gateway's drain."""

    class Stalled:
        closed = 0

        async def receive(self) -> str:
            await asyncio.sleep(3600)
            return ""

        async def send(self, frame: object) -> None:
            await asyncio.sleep(3600)

        async def close(self, code: int, reason: str = "") -> None:
            self.closed = code

    for name in ("START_DEADLINE_S", "TAIL_S", "STALL_S"):
        monkeypatch.setattr(busy, name, 0.02)
    stalled = Stalled()
    async with asyncio.timeout(2):
        assert not await busy.say_busy(stalled, ["{}"])
    assert stalled.closed == 1000
