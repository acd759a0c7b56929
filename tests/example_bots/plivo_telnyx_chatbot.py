"""The chatbot for Plivo's and for Telnyx' calls."""

from tests.example_bots.chatbot import answer


async def bot(runner_args):
    await answer(runner_args, "plivo", "telnyx")
