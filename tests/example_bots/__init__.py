"""Bots in the shapes of Pipecat's examples. They use Pipecat alone: nothing here knows of this fleet."""
