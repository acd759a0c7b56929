"""The call as data: its states and their table, its record, its outcome. Standard library only, no I/O, no clock."""
