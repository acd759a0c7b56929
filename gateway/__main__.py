"""`python -m gateway`: one gateway process."""

import sys

from gateway.serving import run
from shared.process.main import Program, process_id, run_process
from shared.process.memory import freeze_what_stays
from shared.process.signals import Signals
from shared.registry import open_registry
from shared.settings import GatewaySettings
from shared.telemetry.traces import open_tracer

EXAMPLES = """\
examples:
  PUBLIC_WSS_URL=ws://127.0.0.1:3000/ws SFVOPI_TOKEN_SECRETS=$(openssl rand -hex 32) python -m gateway
  SFVOPI_WEBHOOK_SECRETS_FILE=/run/secrets/webhook python -m gateway     # every setting also as NAME_FILE
  kill -TERM PID      finish the calls that are relayed, then exit; twice: exit now
  kill -USR1 PID      every task into the log
"""


async def serve(settings: GatewaySettings, signals: Signals) -> None:
    """Until told to end."""
    registry = open_registry(settings.redis_url.get_secret_value(), settle_ms=settings.settle_ms)
    tracer = open_tracer(settings, "gateway", process_id(settings.gateway_id))
    freeze_what_stays()  # else every answer waits, now and then, while the collector walks through all libraries
    try:
        await run(settings, registry, signals, tracer)
    finally:
        await tracer.close()


PROGRAM = Program(
    "gateway",
    "Answers SFVoPI webhooks, places calls on workers, and relays their streams.",
    EXAMPLES,
    GatewaySettings,
    serve,
    lambda settings: settings.gateway_id,
)

if __name__ == "__main__":
    sys.exit(run_process(PROGRAM))
