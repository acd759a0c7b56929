"""`sfvopi call --expect TEXT`: did the bot say it? Case, punctuation and spacing do not count.

The bot's words are those of the fleet's timeline, as far as the caller heard them. Without them what was heard is
recognised, by the `offline` extra's model, in a process of its own: it is a worker's.
"""

import asyncio
import json
import os
import sys
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.carrier.audio import write_wav
from shared.carrier.report import CallReport
from shared.cli.doctor.speech_checks import missing_for_recognition
from shared.cli.fleet.environment import child_environment, given_settings

LONGEST_PIECE_MS = 25_000  # what the model hears at once is 30 s
PAUSE_MS = 700  # a shorter pause is one within a sentence
MARGIN_MS = 200
RECOGNISER = "worker.pipeline.offline.recognise"
OWN_MODEL = "SFVOPI_WHISPER_MODEL"
NEEDS = (
    "--expect needs the bot's words: start the fleet with SFVOPI_TRANSCRIPTS=on (`sfvopi up`; another one also needs "
    "--api, its internal address), or install `pip install 'sfvopi-fleet[worker,offline]'`, which recognises English"
)


class NotRecognised(Exception):
    """What was heard could not be turned into words; the message says why."""


def missing(expected: Sequence[str], said: Sequence[str]) -> list[str]:
    """Those of the expected texts that stand nowhere in what was said."""
    whole = f" {plain(' '.join(said))} "
    return [text for text in expected if plain(text) not in whole]


def plain(text: str) -> str:
    """In lower case, with a blank for whatever is no letter, mark or digit."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in folded if c not in "'’")
    return " ".join("".join(kept).split())


def heard_words(said: Sequence[dict[str, Any]]) -> list[str]:
    """What the caller heard of it, where that is known; else what was said."""
    return [str(entry.get("heard", entry["text"])) for entry in said]


def can_recognise() -> bool:
    """Whether what is heard can be turned into words on this machine."""
    return not missing_for_recognition(has_own_model=bool(given_settings().get(OWN_MODEL)))


async def recognise(report: CallReport) -> list[str]:
    """The words of what was heard, stretch by stretch. Raises `NotRecognised`."""
    with tempfile.TemporaryDirectory(prefix="sfvopi-heard-") as folder:
        paths = []
        for n, (start_ms, end_ms) in enumerate(stretches(report.sounds_ms)):
            first, last = (round(ms * report.sample_rate / 1000) * 2 for ms in (start_ms, end_ms))
            paths.append(str(Path(folder, f"{n}.wav")))
            write_wav(paths[-1], report.heard_pcm[first:last], report.sample_rate)
        return await _ask_recogniser(paths) if paths else []


def stretches(sounds_ms: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Sounds with short pauses between them as one, with a little silence around; none longer than the model hears."""
    found: list[tuple[float, float]] = []
    for start, end in sounds_ms:
        if found and start - found[-1][1] < PAUSE_MS and end - found[-1][0] < LONGEST_PIECE_MS:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return [(max(0.0, start - MARGIN_MS), end + MARGIN_MS) for start, end in found]


async def _ask_recogniser(paths: Sequence[str]) -> list[str]:
    env = child_environment(with_settings=True)
    if own := given_settings().get(OWN_MODEL):
        env[OWN_MODEL] = own
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", RECOGNISER, *paths),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**env, "OMP_NUM_THREADS": env.get("OMP_NUM_THREADS", str(os.cpu_count() or 1))},
    )
    told, errors = await process.communicate()
    try:
        return [str(text) for text in json.loads(told.decode().strip().rpartition("\n")[2]) if text]
    except ValueError:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise NotRecognised(f"recognition ended with status {process.returncode}: {last}") from None
