"""The process' signals, owned by us: uvicorn's own handlers would cut every stream before a drain could begin.

First SIGTERM: drain. A second one: end what is left, in good order. A third one, or SIGINT: end now, whatever it cuts.
SIGUSR1: every task goes to the log.
"""

import asyncio
import signal
from typing import Self

from shared.process.tasks import dump_tasks
from shared.telemetry.logs import get_logger

OWN_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Signals:
    """Events that are set by signals, or by whoever wants the same; each implies those before it."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.stopping = asyncio.Event()
        self.cutting = asyncio.Event()
        self._log = get_logger(__name__)

    def drain(self) -> None:
        """SIGTERM: finish what runs, then exit; asked twice, exit soon; asked again, exit now."""
        if self.stopping.is_set():
            self.stop()
        elif self.draining.is_set():
            self._log.info("stopping", hint="a third signal ends this process at once")
            self.stopping.set()
        else:
            self._log.info("draining", hint="a second signal ends this process soon, SIGINT at once")
            self.draining.set()

    def stop(self) -> None:
        """SIGINT: exit now."""
        if not self.cutting.is_set():
            self._log.info("ending now")
        for event in (self.draining, self.stopping, self.cutting):
            event.set()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.drain)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGUSR1, dump_tasks)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in OWN_SIGNALS:
            loop.remove_signal_handler(number)
