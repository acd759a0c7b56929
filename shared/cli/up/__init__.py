"""`sfvopi up`: a fleet on this machine that real calls can reach."""
