"""Certificates that have expired, told with their date. What reads them is imported when there is something to tell."""

import asyncio
import ssl
from datetime import UTC, datetime

_SECONDS = 5.0


def expired(certificate: bytes, now: datetime) -> str:
    """That a client certificate has expired, and when; "" where it has not, or cannot be read.

    Args:
        certificate: PEM, the client's own first; empty for none.
        now: wall time.
    """
    from cryptography import x509  # noqa: PLC0415 - see the module

    try:
        ends = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return ""
    return f"the client certificate expired at {_said(ends)}" if ends <= now else ""


async def end_of_server(host: str, port: int | None, name: str) -> str:
    """When the expired certificate that a server shows ended; "" where it cannot be asked directly.

    Nothing is sent, and nothing is believed but the date, for a message.
    """
    from cryptography import x509  # noqa: PLC0415 - see the module

    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(
                host, port, ssl=unverified, server_hostname=name or host
            )
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return f"it expired at {_said(x509.load_der_x509_certificate(shown).not_valid_after_utc)}"
    except (OSError, ValueError):  # a TimeoutError is an OSError
        return ""


def _said(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
