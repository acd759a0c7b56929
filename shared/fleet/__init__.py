"""The fleet as data: worker records, and how the best one is chosen. Standard library only, no I/O, no clock."""
