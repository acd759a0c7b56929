"""`sfvopi doctor`: is this machine ready to take calls, and if not, what to do; and where to look for a symptom."""
