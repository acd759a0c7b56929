"""Hostile input in numbers, over open sockets, against a real fleet: `python -m tests.fuzz`."""
