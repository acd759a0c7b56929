"""The chaos suite: a real fleet under faults, and a ledger that is kept on the caller's side."""
