"""The scripted receptionist behind Pipecat's language model interface: contexts in, a stream of words out."""

import asyncio
from typing import Any

from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings

from worker.pipeline.offline.dialogue import Reply, Said, reply_to

FIRST_WORD_S = 0.05
END_CALL = "end_call"


class ScriptedLLMService(LLMService[Any]):
    """Answers from the script. Ends a call as a real model would: with the `end_call` tool, if the bot has one."""

    def __init__(self, *, first_word_s: float = FIRST_WORD_S, **kwargs: Any) -> None:
        """`first_word_s`: how long the model "thinks"."""
        super().__init__(
            settings=LLMSettings(
                model="scripted",
                system_instruction=None,
                temperature=None,
                max_tokens=None,
                top_p=None,
                top_k=None,
                frequency_penalty=None,
                presence_penalty=None,
                seed=None,
                filter_incomplete_user_turns=False,
                user_turn_completion_config=None,
            ),
            **kwargs,
        )
        self._first_word_s = first_word_s

    def can_generate_metrics(self) -> bool:
        """Pipecat measures the time to the first word."""
        return True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context; pass everything else on."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        await self.start_processing_metrics()
        try:
            await self._answer(frame.context)
        finally:
            await self.stop_processing_metrics()
            await self.push_frame(LLMFullResponseEndFrame())

    async def _answer(self, context: LLMContext) -> None:
        await self.start_ttfb_metrics()
        reply = reply_to(conversation_of(context))
        await asyncio.sleep(self._first_word_s)
        await self.stop_ttfb_metrics()
        if reply.ends_call and self.has_function(END_CALL):
            await self._call_end_call(context, reply)
            return
        for word in reply.text.split(" "):
            await self._push_llm_text(f"{word} ")

    async def _call_end_call(self, context: LLMContext, reply: Reply) -> None:
        call = FunctionCallFromLLM(
            function_name=END_CALL,
            tool_call_id=f"call_{len(context.get_messages())}",
            arguments={"farewell": reply.text},
            context=context,
        )
        await self.run_function_calls([call])


def conversation_of(context: LLMContext) -> list[Said]:
    """What caller and bot said, without instructions and tool messages."""
    conversation = []
    for message in context.get_messages():
        if isinstance(message, dict) and message.get("role") in ("user", "assistant"):
            text = message.get("content")
            if isinstance(text, str):
                conversation.append(Said(by_caller=message["role"] == "user", text=text))
    return conversation
