"""The arq process: closes records, reaps what the dead left, applies retention. Calls never wait for it."""
