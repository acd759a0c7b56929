"""How many calls one core carries, here and in others' way: `python -m tests.bench`, a command and no test."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in a worker; before anything here imports numpy
