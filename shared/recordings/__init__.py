"""What a caller hears of us when there is no bot to say anything, whoever says it: a worker, or a gateway."""

from pathlib import Path

APOLOGY = Path(__file__).with_name("apology.wav")
