"""The chatbot for Twilio's calls."""

from tests.example_bots.chatbot import answer


async def bot(runner_args):
    await answer(runner_args, "twilio")
