"""How far what was heard is from what was said."""

from collections.abc import Sequence

import jiwer

PLAIN = jiwer.Compose(
    [
        jiwer.ToLowerCase(),
        jiwer.RemovePunctuation(),
        jiwer.RemoveMultipleSpaces(),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfWords(),
    ]
)


def error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """The word error rate over all of it; case and punctuation do not count."""
    whole_said, whole_heard = " ".join(said), " ".join(heard)
    return float(jiwer.wer(whole_said, whole_heard, reference_transform=PLAIN, hypothesis_transform=PLAIN))
