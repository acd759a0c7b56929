"""How many calls one worker carries: the search for the knee, its judgement, and what it is judged by."""
