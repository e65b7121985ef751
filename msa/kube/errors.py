"""The one place where the transport's exceptions and an API server's refusals become the runtime's errors."""

import ssl
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
import msgspec

from msa.runtime.errors import ApiError, Decode, Network, Refused, classify
from msa.runtime.events import Status

TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError)
UNDECODABLE = (msgspec.MsgspecError, UnicodeError)
"""What msgspec raises for content that is not what it should be, down to its bytes; RecursionError for what is nested too deeply."""

_STATUS = msgspec.json.Decoder(Status)


def from_exception(error: BaseException) -> ApiError:
    """The runtime's error for one of `TRANSPORT_ERRORS`; says what happened, never what was sent."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return Refused(f"the server's certificate is not trusted: {error.certificate_error}")
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return Refused(_text(error))
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return Network("no byte arrived in time")
        case _:
            return Network(_text(error))


def from_answer(code: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The runtime's error for an answer that is no success."""
    status = Status()
    with suppress(*UNDECODABLE, RecursionError):
        status = _STATUS.decode(body)
    retry_after = status.retry_after
    with suppress(KeyError, ValueError):
        retry_after = float(headers["Retry-After"])
    return classify(code, status.reason, status.message, retry_after=retry_after)


def unreadable(error: Exception) -> Decode:
    """The error for bytes that are not what the API promises. The text of msgspec names a field, never a value; that of a UnicodeError a byte."""
    return Decode(str(error))


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
