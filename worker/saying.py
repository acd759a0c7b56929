"""What the bot says, sentence by sentence, and how much of it the caller has heard when it stops. Pure.

A sentence is announced before its audio. Its words come one by one as they are heard, from a voice that gives their
times; at once when its audio has been sent; or at once before it, from a voice that says nothing more of it. So when
the bot is cut short it is known which words were heard, or which sentences were, and for how long what follows them.

Times are seconds of one clock. `quiet_at`: when all audio that was sent so far will have been heard.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

A_MOMENT_S = 0.01  # what is shorter is no sound


@dataclass(frozen=True, slots=True)
class Said:
    """What was said, and of it what surely was `heard`; `heard_s`: for how long what follows that was heard.

    `heard` None: all of it. `heard_s` None: the words are known, and `heard` is all that was.
    """

    text: str
    heard: str | None = None
    heard_s: float | None = None


@dataclass(slots=True)
class Sentence:
    """One that was announced; `text` is empty if its words came without that."""

    text: str
    from_at: float  # its first sound is heard then, if it has one
    words: list[str] = field(default_factory=list)
    came_at: list[float] = field(default_factory=list)  # of each of the words
    told: int = 0  # of its words, in an earlier entry
    ends_at: float | None = None  # its last sound is heard then, if that is known
    sound_s: float | None = None  # of audio that was sent for it, once the next one begins

    @property
    def spoken(self) -> str:
        """Those of its words that have come and are not told yet."""
        return "".join(self.words[self.told :]).strip()

    def spoken_until(self, at: float) -> str:
        """Likewise, of those that had come by then."""
        return "".join(self.words[self.told : bisect_right(self.came_at, at)]).strip()

    def is_worded_until(self, at: float) -> bool:
        """All of its words had come by then."""
        return self.is_worded and self.came_at[-1] <= at

    @property
    def rest(self) -> str:
        """What is not told of it yet, whether its words have come or not."""
        before = len("".join(self.words[: self.told]).split())
        return " ".join(self.text.split()[before:]) or self.spoken

    @property
    def is_worded(self) -> bool:
        """All of its words have come."""
        return bool(self.words) and _letters("".join(self.words)) >= _letters(self.text)


class Saying:
    """The sentences that are on their way to the caller."""

    def __init__(self) -> None:
        self._sentences: dict[int, Sentence] = {}
        self._gives_words = False  # some voices never do

    @property
    def is_unspoken(self) -> bool:
        """Whether there are sentences whose words have not all come."""
        return any(not sentence.is_worded for sentence in self._sentences.values())

    def begins(self, number: int, text: str, now: float, quiet_at: float) -> None:
        """The voice announces this sentence."""
        for sentence in self._sentences.values():
            if sentence.sound_s is None:
                sentence.sound_s = max(0.0, quiet_at - sentence.from_at)
        self._sentences[number] = Sentence(text, max(now, quiet_at))

    def words_came(self, text: str, number: int, now: float, quiet_at: float) -> None:
        """Words of this sentence, with the space before them."""
        self._gives_words = True
        sentence = self._sentences.setdefault(number, Sentence("", now))
        sentence.words.append(text)
        sentence.came_at.append(now)
        has_sound = quiet_at - sentence.from_at > A_MOMENT_S
        sentence.ends_at = quiet_at if has_sound and sentence.is_worded else None

    def stops(self) -> tuple[str, list[Said]]:
        """The bot is silent. What it has said since; and what it never said, for it has gone on with what came behind.

        What has no words yet may still come.
        """
        if not self._gives_words:
            text = _joined(sentence.text for sentence in self._sentences.values())
            self._sentences.clear()
            return text, []
        text = _joined(sentence.spoken for sentence in self._sentences.values())
        last = max((n for n, each in enumerate(self._sentences.values()) if each.words), default=0)
        lost = [each for each in list(self._sentences.values())[:last] if not each.words]
        self._sentences = {
            number: sentence
            for number, sentence in self._sentences.items()
            if not sentence.is_worded and sentence not in lost
        }
        for sentence in self._sentences.values():
            sentence.told = len(sentence.words)
        return text, [Said(each.text, "", round(each.sound_s or 0.0, 1)) for each in lost]

    def ends(self, now: float, quiet_at: float, unheard: Collection[str] = ()) -> Said | None:
        """Nothing was heard from `now` on: the caller spoke into it, or left, or the voice failed.

        `unheard`: sentences that, by the carrier's word, are not played to their end.
        """
        sentences, self._sentences = list(self._sentences.values()), {}
        text = _joined(sentence.rest for sentence in sentences)
        if not text:
            return None
        is_worded = all(sentence.is_worded_until(now) for sentence in sentences)
        if is_worded and quiet_at <= now and quiet_at - sentences[0].from_at > A_MOMENT_S:
            return Said(text)
        heard: list[str] = []
        has_word_times = any(len(sentence.words) > 1 for sentence in sentences)
        for sentence in sentences:
            if has_word_times:
                heard.append(sentence.spoken_until(now))
            elif sentence.ends_at is not None and sentence.ends_at <= now and sentence.text not in unheard:
                heard.append(sentence.rest)
            else:
                heard_s = max(0.0, min(now, quiet_at) - sentence.from_at)
                return Said(text, _joined(heard), round(heard_s, 1))
        return Said(text) if is_worded else Said(text, _joined(heard))


def _joined(parts: Iterable[str]) -> str:
    return " ".join(filter(None, parts))


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))
