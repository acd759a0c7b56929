import audioop
import wave

import pytest

from shared.carrier import speech
from shared.carrier.audio import noise, read_wav, resample, tone
from shared.carrier.speech import SpeechUnavailable, cache_folder, find_voice, speak


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


@pytest.mark.speech
async def test_texts_become_speech_and_are_kept(cache):
    made = await speak(["Yes, please.", "And this is a longer sentence\nthan the first."])

    assert len(list(cache.glob("*.wav"))) == 2
    short, long = made.values()
    assert 0.4 < len(short) / 16000 < len(long) / 16000 < 6
    assert audioop.rms(short, 2) > 500
    assert list(cache.iterdir()) == list(cache.glob("*.wav"))  # nothing else is left
    assert await speak(["Yes, please."]) == {"Yes, please.": short}


async def test_a_kept_text_needs_no_piper(cache, monkeypatch):
    def not_now(*args, **kwargs):
        raise AssertionError("piper was started")

    text = "kept"
    voice = cache.with_name("voice.onnx")
    voice.parent.mkdir(parents=True)
    voice.write_bytes(b"a voice")
    monkeypatch.setenv("SFVOPI_PIPER_VOICE", str(voice))
    path = speech._cache_path(find_voice(), text)
    path.parent.mkdir()
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 22050, 0, "NONE", ""))
        file.writeframes(tone(300, 1.0, rate=22050))
    monkeypatch.setattr(speech, "_run_piper", not_now)
    assert len((await speak([text]))[text]) == pytest.approx(16000, abs=4)


async def test_a_missing_voice_says_what_to_install(monkeypatch):
    monkeypatch.setenv("SFVOPI_PIPER_VOICE", "/no/such.onnx")
    with pytest.raises(SpeechUnavailable, match="SFVOPI_PIPER_VOICE names no file"):
        await speak(["hello"])
    monkeypatch.delenv("SFVOPI_PIPER_VOICE")
    monkeypatch.setattr("shared.carrier.speech.VOICE_MODULE", "no_such_voice")
    with pytest.raises(SpeechUnavailable, match="offline"):
        await speak(["hello"])


@pytest.mark.parametrize("rate", [8000, 16000])
def test_wav_files_are_read_at_the_rate_of_the_phone(tmp_path, rate):
    path = tmp_path / "said.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(tone(300, 1.0, rate=rate))
    pcm = read_wav(path)
    assert len(pcm) == pytest.approx(16000, abs=4)
    assert audioop.rms(pcm, 2) == pytest.approx(audioop.rms(tone(300, 1.0), 2), rel=0.02)


def test_other_files_are_refused_with_a_reason(tmp_path):
    path = tmp_path / "said.wav"
    path.write_bytes(b"not a wav")
    with pytest.raises(ValueError, match="no WAV file"):
        read_wav(path)
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(400))
    with pytest.raises(ValueError, match="2 channels"):
        read_wav(path)


def test_noise_is_the_same_for_the_same_seed():
    assert noise(0.1) == noise(0.1) != noise(0.1, seed=2)


def test_without_soxr_the_rate_is_still_changed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert len(resample(tone(300, 1.0), 8000, 16000)) == pytest.approx(32000, abs=8)
