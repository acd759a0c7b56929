"""Pipecat Flows: two nodes, and an end."""

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.flows import FlowManager, NodeConfig
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.utils import create_transport

from tests.example_bots.parts import TRANSPORTS, end_with_the_caller, make_llm, make_stt, make_tts, phone_pipeline, run


async def choose_dish(flow_manager: FlowManager, dish: str):
    """Remember what the caller would like to eat.

    Args:
        dish: The dish.
    """
    flow_manager.state["dish"] = dish
    return {"dish": dish}, confirm()


async def confirm_order(flow_manager: FlowManager):
    """The caller is happy with the order."""
    return {"ok": True}, goodbye()


def ask() -> NodeConfig:
    return NodeConfig(
        name="ask",
        role_message="You take orders on the telephone.",
        task_messages=[{"role": "developer", "content": "Ask the caller for a dish."}],
        functions=[choose_dish],
    )


def confirm() -> NodeConfig:
    return NodeConfig(
        name="confirm",
        task_messages=[{"role": "developer", "content": "Read the order back and ask whether it is right."}],
        functions=[confirm_order],
    )


def goodbye() -> NodeConfig:
    return NodeConfig(
        name="goodbye",
        task_messages=[{"role": "developer", "content": "Thank the caller and say goodbye."}],
        functions=[],
        post_actions=[{"type": "end_conversation"}],
    )


async def bot(runner_args):
    transport = await create_transport(runner_args, TRANSPORTS)
    stt, llm, tts = make_stt(), make_llm(), make_tts()
    pair = LLMContextAggregatorPair(LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer()))
    worker = phone_pipeline(transport.input(), stt, pair.user(), llm, tts, transport.output(), pair.assistant())
    flow = FlowManager(worker=worker, llm=llm, context_aggregator=pair, transport=transport)

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport, client):
        await flow.initialize(ask())

    end_with_the_caller(transport, worker)
    await run(runner_args, worker)
