"""Pipecat's OpenAI services over the process' TLS context; each call still has connections of its own."""

from typing import Any

from httpx2 import AsyncClient, Limits
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pipecat.services.openai.llm import OpenAILLMService

from worker.tls import http_context

# Pipecat's: a caller may think for a minute, and the next answer should not wait for a new connection
LIMITS = Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=None)


def http_client() -> AsyncClient:
    """One call's HTTP client; the session closes it."""
    return DefaultAsyncHttpxClient(verify=http_context(), limits=LIMITS)


class PhoneOpenAILLMService(OpenAILLMService):
    """`OpenAILLMService`, but for the HTTP client's making."""

    def create_client(
        self,
        api_key: Any = None,
        base_url: Any = None,
        organization: Any = None,
        project: Any = None,
        default_headers: Any = None,
        **_: Any,
    ) -> AsyncOpenAI:
        """Called by the stock service, once."""
        return AsyncOpenAI(
            api_key=api_key,
            base_url=base_url,
            organization=organization,
            project=project,
            default_headers=default_headers,
            http_client=http_client(),
        )
