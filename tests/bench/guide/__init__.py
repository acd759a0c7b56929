"""The application of Superfone's Pipecat guide, for today's Pipecat: what this project is compared with."""
