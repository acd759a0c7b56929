"""`sfvopi demo`: one whole call through a whole fleet on this machine, told as it happens."""
