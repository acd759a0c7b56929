"""The caller's ear: the carrier's playout buffer as it really runs, and what came out. Pure; time is a parameter.

Audio is played in real time, in *runs*: stretches without a break. Into silence the buffer first gathers
`prebuffer_s` of audio (or waits as long), then plays until it is dry.

An **underrun** is a break that the caller hears inside speech. A run counts as late if
  - its first audio came within `SAME_UTTERANCE_S` after the buffer ran dry: later, it is another utterance;
  - there was sound in the last `TAIL_S` before the break: a bot that had already fallen silent has only paused;
  - no clearAudio ended the run before it, and no checkpoint marked its end as the end of an utterance.
Its gap is the whole silence, the new prebuffering included.
"""

import audioop
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

SAME_UTTERANCE_S = 0.4
TAIL_S = 0.1
AFTER_CLEAR_S = 0.25  # audio that comes so soon after a clear belongs to what was cleared
LOUD_RMS = 150  # of 32768, -47 dBFS: above line noise and the fading end of a word, below any speech
BLOCK_S = 0.02
_WIDTH = 2  # bytes of a sample


@dataclass(slots=True, eq=False)
class Run:
    """Audio played without a break, from `begin` on. Sounds are (from, to) in seconds after `begin`."""

    begin: float
    samples: int = 0  # durations are counted in these, so that they do not drift
    duration: float = 0.0
    is_late: bool = False
    is_cut: bool = False
    sounds: list[tuple[float, float]] = field(default_factory=list)
    pcm: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> float:
        return self.begin + self.duration

    def add_sound(self, start: float, end: float) -> None:
        """Put a sound behind the others, and make one of two that touch."""
        if self.sounds and start - self.sounds[-1][1] < 1e-6:
            start = self.sounds.pop()[0]
        self.sounds.append((start, end))

    def cut(self, now: float) -> None:
        """Play nothing after now."""
        self.duration = max(0.0, min(self.duration, now - self.begin))
        self.sounds = [(start, min(end, self.duration)) for start, end in self.sounds if start < self.duration]
        self.is_cut = True


class Ear:
    """Takes what the bot sends, when it comes; tells what is heard, and when."""

    def __init__(self, sample_rate: int, prebuffer_s: float = 0.06, *, keep_audio: bool = False) -> None:
        self.first_frame_at: float | None = None
        self.most_ahead_s = 0.0
        self.after_clear_s = 0.0
        self.unplayed_checkpoints: list[str] = []
        self.rate = sample_rate
        self._block = round(sample_rate * BLOCK_S) * _WIDTH
        self._prebuffer_s = prebuffer_s
        self._keep_audio = keep_audio
        self._runs: list[Run] = []
        self._checkpoints: deque[tuple[str, Run | None, float]] = deque()  # name, run, offset in it
        self._is_marked = False  # a checkpoint stands behind the last audio
        self._cleared_at = float("-inf")
        self._is_over = False

    # -- what the bot sends --

    def receive(self, pcm: bytes, now: float) -> None:
        """Queue audio, 16-bit PCM."""
        if self._is_over:
            return
        if self.first_frame_at is None:
            self.first_frame_at = now
        run = self._runs[-1] if self._runs else None
        if run is None or run.is_cut or now >= run.end:
            run = self._begin_run(run, now)
        self._append(run, pcm)
        if now < run.begin and run.duration >= self._prebuffer_s:
            run.begin = now
        self.most_ahead_s = max(self.most_ahead_s, run.end - max(now, run.begin))
        if now - self._cleared_at < AFTER_CLEAR_S:
            self.after_clear_s += len(pcm) / (self.rate * _WIDTH)

    def clear(self, now: float) -> float:
        """Drop what is not yet played, and the checkpoints in it. Returns how many seconds were dropped."""
        dropped = self.unplayed_s(now)
        if dropped > 0:
            self.unplayed_checkpoints += [mark[0] for mark in self._checkpoints if self._due_at(mark) > now]
            self._checkpoints = deque(mark for mark in self._checkpoints if self._due_at(mark) <= now)
            self._runs[-1].cut(now)
        self._cleared_at = now
        return dropped

    def checkpoint(self, name: str) -> None:
        """Mark the end of the audio so far."""
        run = self._runs[-1] if self._runs else None
        self._checkpoints.append((name, run, run.duration if run else 0.0))
        self._is_marked = True

    def take_played_checkpoints(self, now: float) -> list[str]:
        """The names of checkpoints that have been reached since they were asked for last."""
        names = []
        while self._checkpoints and self._due_at(self._checkpoints[0]) <= now:
            names.append(self._checkpoints.popleft()[0])
        return names

    def hang_up(self, now: float) -> None:
        """Nothing is heard from now on, and what still comes is not taken."""
        self.clear(now)
        self._is_over = True

    # -- what the caller hears --

    def unplayed_s(self, now: float) -> float:
        """How much audio is queued."""
        run = self._runs[-1] if self._runs else None
        return max(0.0, run.end - max(now, run.begin)) if run and not run.is_cut else 0.0

    def heard_s(self, now: float) -> float:
        """How much audio has been played, silent stretches of it included."""
        return sum(max(0.0, min(run.end, now) - run.begin) for run in self._runs)

    def last_sound_at(self, now: float) -> float | None:
        """When the latest sound was heard: now, if one is being heard."""
        for run in reversed(self._runs):
            for start, end in reversed(run.sounds):
                if run.begin + start <= now:
                    return min(run.begin + end, now)
        return None

    def first_sound_at(self, since: float, now: float) -> float | None:
        """When the first sound at or after `since` was heard."""
        first = None
        for run in reversed(self._runs):
            for start, end in reversed(run.sounds):
                if run.begin + end <= since:
                    return first
                if run.begin + start <= now:
                    first = max(run.begin + start, since)
        return first

    def utterances(self, pause_s: float = 0.4) -> list[tuple[float, float]]:
        """When the bot was heard to speak: sounds with less than `pause_s` between them are one."""
        spoken: list[tuple[float, float]] = []
        for run in self._runs:
            for start, end in run.sounds:
                start, end = run.begin + start, run.begin + end
                if spoken and start - spoken[-1][1] < pause_s:
                    start = spoken.pop()[0]
                spoken.append((start, end))
        return spoken

    def gaps_s(self) -> list[float]:
        """The length of each underrun."""
        return [late.begin - before.end for before, late in self._pairs() if late.is_late and late.duration > 0]

    def sounds(self, pause_s: float = 0.04) -> list[tuple[float, float]]:
        """When there was sound, run by run: a break between runs is told, however short."""
        heard: list[tuple[float, float]] = []
        for run in self._runs:
            of_run: list[tuple[float, float]] = []
            for start, end in run.sounds:
                if of_run and run.begin + start - of_run[-1][1] < pause_s:
                    of_run[-1] = (of_run[-1][0], run.begin + end)
                else:
                    of_run.append((run.begin + start, run.begin + end))
            heard += of_run
        return heard

    def silent_from(self, since: float, quiet_s: float = 0.3) -> float | None:
        """When, after `since`, the bot had fallen silent for at least `quiet_s`; None: it was silent all along."""
        for start, end in self.utterances(quiet_s):
            if end > since:
                return end if start <= since else None
        return None

    def pcm(self, since: float = 0.0) -> bytes:
        """All that was heard, from a time on (needs keep_audio)."""
        heard = bytearray()
        for run in self._runs:
            if run.end <= since:
                continue
            missing = round((run.begin - since) * self.rate) * _WIDTH - len(heard)
            heard += bytes(max(0, missing))
            unheard = max(0, round((since - run.begin) * self.rate)) * _WIDTH
            heard += run.pcm[unheard : round(run.duration * self.rate) * _WIDTH]
        return bytes(heard)

    # -- inside --

    def _begin_run(self, before: Run | None, now: float) -> Run:
        run = Run(begin=now + self._prebuffer_s)
        if before and not before.is_cut and not self._is_marked and now - before.end <= SAME_UTTERANCE_S:
            last_sound = before.sounds[-1][1] if before.sounds else float("-inf")
            run.is_late = before.duration - last_sound < TAIL_S
        self._runs.append(run)
        return run

    def _append(self, run: Run, pcm: bytes) -> None:
        for at in range(0, len(pcm), self._block):
            block = pcm[at : at + self._block]
            start, run.samples = run.duration, run.samples + len(block) // _WIDTH
            run.duration = run.samples / self.rate
            if audioop.rms(block, _WIDTH) >= LOUD_RMS:
                run.add_sound(start, run.duration)
        if self._keep_audio:
            run.pcm += pcm
        self._is_marked = False

    def _due_at(self, mark: tuple[str, Run | None, float]) -> float:
        _, run, offset = mark
        return run.begin + offset if run else float("-inf")

    def _pairs(self) -> Iterator[tuple[Run, Run]]:
        return zip(self._runs, self._runs[1:], strict=False)
