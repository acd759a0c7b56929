"""A TCP proxy in front of Redis, as a process of its own, so that a busy simulator never makes Redis look slow.

    python -m tests.chaos.slow_proxy LISTEN_PORT REDIS_PORT

SIGUSR1: from now on each command reaches Redis a second late, order kept. SIGUSR2: as fast as it comes.
"""

import asyncio
import contextlib
import signal
import sys

SLOW_S = 1.0


class SlowProxy:
    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._late_s = 0.0

    def set_late(self, late_s: float) -> None:
        self._late_s = late_s

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.ensure_future(self._carry(reader, up_writer, is_slow=True)),
            asyncio.ensure_future(self._carry(up_reader, writer, is_slow=False)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, up_writer):
            end.close()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_slow: bool) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                due, data = await queue.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                target.write(data)
                await target.drain()

        sending = asyncio.ensure_future(send())
        try:
            while data := await source.read(65536):
                queue.put_nowait((loop.time() + (self._late_s if is_slow else 0), data))
        except OSError:
            pass
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def main(listen_port: int, upstream_port: int) -> None:
    proxy = SlowProxy(upstream_port)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, proxy.set_late, SLOW_S)
    loop.add_signal_handler(signal.SIGUSR2, proxy.set_late, 0.0)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", listen_port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
