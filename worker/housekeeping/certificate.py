"""Until when the certificate is good that callers' streams meet at PUBLIC_WSS_URL: looked at from outside, as they do.

Whether it is trusted is not judged here: whoever connects does. What cannot be reached is not known, and no error.
"""

import asyncio
import ssl
from urllib.parse import urlsplit

from cryptography import x509

LOOK_S = 5.0
LOOK_EVERY_S = 3600.0
LOOK_AGAIN_S = 60.0  # nobody answered: the edge may not be up yet


async def expires_at(wss_url: str) -> float | None:
    """Unix seconds; None if there is no TLS there, or nobody answers."""
    url = urlsplit(wss_url)
    if url.scheme != "wss" or not url.hostname:
        return None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # one that has expired shall be seen, too
    try:
        async with asyncio.timeout(LOOK_S):
            _, writer = await asyncio.open_connection(url.hostname, url.port or 443, ssl=context)
        try:
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.close()
        return x509.load_der_x509_certificate(shown).not_valid_after_utc.timestamp() if shown else None
    except (OSError, ValueError):  # a timeout is an OSError, as is whatever TLS finds wrong
        return None
