"""The one place where the transport's exceptions and an API server's refusals become the runtime's errors."""

import errno
import math
import os
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime

import aiohttp
import msgspec

from msa.kube.skew import wall_clock
from msa.runtime.errors import ApiError, Decode, Network, Refused, Silent, Untrusted, classify
from msa.runtime.events import Status

TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError)
UNDECODABLE = (msgspec.MsgspecError, UnicodeError)
"""What msgspec raises for content that is not what it should be, down to its bytes; RecursionError for what is nested too deeply."""

_STATUS = msgspec.json.Decoder(Status)


def from_exception(error: BaseException) -> ApiError:
    """The runtime's error for one of `TRANSPORT_ERRORS`; says what happened in people's words, never what was sent."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return Untrusted(f"{_place(error)}: {_distrust(error.certificate_error)}")
        case aiohttp.ConnectionTimeoutError():
            return Refused("the connection was not established in time")
        case aiohttp.ClientProxyConnectionError():
            return Refused(f"proxy {_place(error)}: {_cause(error.os_error)}")
        case aiohttp.ClientConnectorError():
            return Refused(f"{_place(error)}: {_cause(error.os_error)}")
        case aiohttp.SocketTimeoutError():
            return Silent("no byte arrived in time")
        case TimeoutError():
            return Network("no byte arrived in time")
        case _:
            return Network(_cause(error))


def from_answer(code: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The runtime's error for an answer that is no success."""
    status = Status()
    with suppress(*UNDECODABLE, RecursionError):
        status = _STATUS.decode(body)
    said = retry_after(headers)
    return classify(
        code,
        status.reason,
        status.message or _page(body),
        retry_after=said if said is not None else status.retry_after,
        location=headers.get("Location", ""),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait; None where it says nothing that is a finite time to come."""
    said = headers.get("Retry-After", "")
    try:
        seconds = float(said)
    except ValueError:
        seconds = _seconds_until(said, headers.get("Date", ""))
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def unreadable(error: Exception) -> Decode:
    """The error for bytes that are not what the API promises. The text of msgspec names a field, never a value; that of a UnicodeError a byte."""
    return Decode(str(error))


def _seconds_until(date: str, present: str) -> float:
    """By the server's own clock where it says what that shows; not a number where `date` is no date."""
    try:
        now = parsedate_to_datetime(present) if present else wall_clock()
        return (parsedate_to_datetime(date) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):  # no date, or one without a time zone
        return math.nan


def _page(body: bytes) -> str:
    """What an answer is that no API server gives: of a proxy, say."""
    return "the answer is an HTML page: not the API server's" if body.lstrip()[:1] == b"<" else ""


def _place(error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> str:
    return f"{error.host}:{error.port}"


def _distrust(error: Exception) -> str:
    why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
    return f"the server's certificate is not trusted: {why}"


def _cause(error: BaseException | None) -> str:
    """What went wrong, without numbers and names of classes."""
    match error:
        case socket.gaierror():
            return "the name cannot be resolved"
        case ssl.SSLError(reason=str(reason)):
            return f"the TLS handshake failed: {reason.replace('_', ' ').lower()}"
        case OSError(errno=errno.ECONNRESET | errno.EPIPE) | aiohttp.ServerDisconnectedError():
            return "the server closed the connection"
        case aiohttp.ClientPayloadError():
            return "the connection was cut in the middle of an answer"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy answered with status {error.status}"
        case aiohttp.ClientResponseError():
            return "the answer is not HTTP"
        case OSError(errno=int(number)):
            return os.strerror(number).lower()
        case _:
            return "the connection failed"
