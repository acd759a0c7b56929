"""What every process of ours is made of: signals, side tasks, servers, access to the internal API. No calls here."""
