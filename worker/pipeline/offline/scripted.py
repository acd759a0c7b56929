"""A script behind Pipecat's language model interface: contexts in, a stream of words or a tool's call out.

The script is the receptionist's, or a file of rules (SFVOPI_SCRIPT). A prompt and tools that it has no use for are
named at the rehearsal and in the log: nobody is to wonder why their garage has a restaurant's opening hours.
"""

import asyncio
from typing import Any

from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMUserAggregator
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings

from shared.telemetry.logs import get_logger
from worker.pipeline.anatomy import processors_in
from worker.pipeline.offline.dialogue import AGAIN, OPENING_HOURS, Said, reply_to
from worker.pipeline.offline.rules import Action, Rules, text_of, turn_of

FIRST_WORD_S = 0.05
END_CALL = "end_call"
REMEDY = "name a model (OPENAI_API_KEY, OPENAI_BASE_URL), or write what it does into a file of rules (SFVOPI_SCRIPT)"
PROMPT_NOT_USED = f"a restaurant's receptionist answers, by a script, and this bot's prompt is not used; {REMEDY}"

_WARNED: set[str] = set()  # in this process

log = get_logger(__name__)


class ScriptedLLMService(LLMService[Any]):
    """Answers from the script. Ends a call as a real model would: with the `end_call` tool, if the bot has one."""

    def __init__(self, *, first_word_s: float = FIRST_WORD_S, rules: Rules | None = None, **kwargs: Any) -> None:
        """`first_word_s`: how long the model "thinks". `rules` in place of the receptionist's script."""
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
        self._rules = rules

    def can_generate_metrics(self) -> bool:
        """Pipecat measures the time to the first word."""
        return True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context; pass everything else on."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        self._warn_once(frame.context)
        await self.push_frame(LLMFullResponseStartFrame())
        await self.start_processing_metrics()
        try:
            await self._answer(frame.context)
        finally:
            await self.stop_processing_metrics()
            await self.push_frame(LLMFullResponseEndFrame())

    async def _answer(self, context: LLMContext) -> None:
        await self.start_ttfb_metrics()
        action = self._act(context)
        await asyncio.sleep(self._first_word_s)
        await self.stop_ttfb_metrics()
        if action.tool:
            await self._call(context, action)
            return
        for word in action.answer.split(" "):
            await self._push_llm_text(f"{word} ")

    def _act(self, context: LLMContext) -> Action:
        if self._rules is not None:
            tools = tools_of(context) | {name for name in self._functions if name}
            return self._rules.act(
                turn_of(context.get_messages(), self._settings.system_instruction or ""), tools
            ) or Action(AGAIN)
        reply = reply_to(conversation_of(context))
        if reply.ends_call and self.has_function(END_CALL):
            return Action(tool=END_CALL, arguments={"farewell": reply.text})
        return Action(reply.text)

    async def _call(self, context: LLMContext, action: Action) -> None:
        call = FunctionCallFromLLM(
            function_name=action.tool,
            tool_call_id=f"call_{len(context.get_messages())}",
            arguments=action.arguments,
            context=context,
        )
        await self.run_function_calls([call])

    # -- what its developer should know

    def remarks(self) -> list[str]:
        """What of this bot the script does not use; asked by the rehearsal, once the pipeline is set up."""
        contexts = [
            processor.context
            for processor in processors_in(self.pipeline_worker.pipeline)
            if isinstance(processor, LLMUserAggregator)
        ]
        tools = {name for name in self._functions if name}.union(*map(tools_of, contexts))
        prompts = [str(self._settings.system_instruction or ""), *map(instructions_of, contexts)]
        return self._not_used(" ".join(prompts), tools)

    def _not_used(self, prompt: str, tools: set[str]) -> list[str]:
        known = {END_CALL} if self._rules is None else self._rules.tools
        remarks = []
        if self._rules is None and prompt.strip() and OPENING_HOURS not in prompt:  # else it is the script's own bot
            remarks.append(f"no language model is set: {PROMPT_NOT_USED}")
        if unused := sorted(tools - known):
            remarks.append(f"the script never calls the tools {', '.join(unused)}; {REMEDY}")
        return remarks

    def _warn_once(self, context: LLMContext) -> None:
        prompt = f"{self._settings.system_instruction or ''} {instructions_of(context)}"
        for remark in self._not_used(prompt, tools_of(context)):
            if remark not in _WARNED:
                _WARNED.add(remark)
                log.warning(remark)


def tools_of(context: LLMContext) -> set[str]:
    """The names of the tools that this context offers."""
    if not isinstance(context.tools, ToolsSchema):
        return set()
    return {tool.name for tool in context.tools.standard_tools}


def instructions_of(context: LLMContext) -> str:
    """What the bot tells the model within the conversation, as bots did before there were system instructions."""
    told = [message for message in context.get_messages() if isinstance(message, dict)]
    return " ".join(text_of(message) for message in told if message.get("role") in ("system", "developer"))


def conversation_of(context: LLMContext) -> list[Said]:
    """What caller and bot said, without instructions and tool messages."""
    conversation = []
    for message in context.get_messages():
        if isinstance(message, dict) and message.get("role") in ("user", "assistant"):
            text = message.get("content")
            if isinstance(text, str):
                conversation.append(Said(by_caller=message["role"] == "user", text=text))
    return conversation
