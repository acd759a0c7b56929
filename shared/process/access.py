"""Who may use an internal API: whoever has the token, or, without a token, this machine alone."""

import hmac
import ipaddress

from starlette.requests import HTTPConnection


def may_use_api(connection: HTTPConnection, api_token: str) -> bool:
    """Whether the request carries `Authorization: Bearer <api_token>`; with no token set, comes from loopback."""
    if not api_token:
        return connection.client is not None and _is_loopback(connection.client.host)
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), api_token.encode())


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
