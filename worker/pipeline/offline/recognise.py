"""`python -m worker.pipeline.offline.recognise FILE.wav…`: what is said in each of them, as a JSON list of texts.

For `sfvopi call --expect`, which knows sound and no models.
"""

import json
import os
import sys
import wave
from pathlib import Path

from worker.pipeline.offline.whisper import recognise


def main(paths: list[str]) -> None:
    """16-bit mono WAV files in, one line of JSON out."""
    own = os.environ.get("SFVOPI_WHISPER_MODEL")
    texts = []
    for path in paths:
        with wave.open(path, "rb") as file:
            pcm, rate = file.readframes(file.getnframes()), file.getframerate()
        texts.append(recognise(Path(own) if own else None, pcm, rate))
    print(json.dumps(texts), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
