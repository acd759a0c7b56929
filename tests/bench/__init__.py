"""How many calls one core carries, here and in others' way: `python -m tests.bench`, a command and no test."""
