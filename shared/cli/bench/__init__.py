"""`sfvopi bench`: measurements of one's own bot on one's own machine."""
