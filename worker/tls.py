"""One TLS context for all clients of this process that are content with the defaults.

A context reads the machine's certificate authorities: 20 ms on the event loop, during which every call waits, and
close to a megabyte outside of Python's sight. Pipecat's services make one per client and per connection.
"""

import asyncio
import ssl
from functools import cache
from typing import Any

import httpx2
import uvloop


@cache
def http_context() -> ssl.SSLContext:
    """For HTTP clients, with their own library's choice of authorities."""
    return httpx2.create_ssl_context()


@cache
def _connection_context() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Loop(uvloop.Loop):
    """`ssl=True`, which is what WebSocket clients ask for, is the one context instead of a new one each time."""

    async def create_connection(self, *args: Any, ssl: Any = None, **options: Any) -> Any:
        return await super().create_connection(*args, ssl=_connection_context() if ssl is True else ssl, **options)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The worker's event loop."""
    return _Loop()
