"""What can go wrong between us and an API server, under one name each, however it arrived.

An HTTP status, an ERROR event inside a watch, an end of stream and an exception of the transport all end up as one of the
classes below; everything above the transport decides by class alone. `classify` is the only place where a status code is read.
"""

from typing import ClassVar


class ApiError(Exception):
    """A request or a stream that failed.

    Attributes:
        reason: the short stable word for logs, metrics and conditions.
        code: the HTTP status, None where there was no answer.
        message: what the server said, cut to 500 characters; never a request or response body.
    """

    reason: ClassVar[str] = "Unknown"

    def __init__(self, message: str = "", *, code: int | None = None) -> None:
        super().__init__(message[:500])
        self.message = message[:500]
        self.code = code

    def explain(self, why: str) -> None:
        """Adds to the message what is known of the cause; nothing where that is empty."""
        if why:
            self.message = f"{self.message}: {why}" if self.message else why
            self.args = (self.message,)


class Expired(ApiError):
    """410: the version asked for is no longer kept; list again."""

    reason = "Expired"


class TooLargeResourceVersion(ApiError):
    """The server has not reached the version asked for: it lags, or was restored from a backup."""

    reason = "TooLargeResourceVersion"


class Throttled(ApiError):
    """429: wait, then ask the same again.

    Attributes:
        retry_after: seconds the server asked for, None if it did not say.
    """

    reason = "Throttled"

    def __init__(
        self, message: str = "", *, code: int | None = 429, retry_after: float | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Unauthorized(ApiError):
    """401: the credential is not, or no longer, good."""

    reason = "Unauthorized"


class CertificateExpired(Unauthorized):
    """The client certificate that was shown is out of date; the message says since when."""


class Forbidden(ApiError):
    """403: the credential is good and may not do this."""

    reason = "Forbidden"


class NotFound(ApiError):
    """404: no such object, namespace or resource."""

    reason = "NotFound"


class Conflict(ApiError):
    """409: somebody else wrote first; read again."""

    reason = "Conflict"


class AlreadyExists(Conflict):
    """409 on a create: an object of that name is there."""

    reason = "AlreadyExists"


class Invalid(ApiError):
    """400, 413, 415 or 422: the server refuses this request for what it says; the same request will fail again."""

    reason = "Invalid"


class ServerError(ApiError):
    """5xx, or a status nobody expects.

    Attributes:
        retry_after: seconds the server asked for, None if it did not say.
    """

    reason = "ServerError"

    def __init__(
        self, message: str = "", *, code: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Redirected(ApiError):
    """3xx, which no API server answers: a login page or a proxy stands in its place. It is never followed: the credential would be."""

    reason = "Redirected"


class AnswerTooLarge(ApiError):
    """The answer is longer than was agreed to be read; ask for less of it."""

    reason = "AnswerTooLarge"


class Network(ApiError):
    """No answer: refused, reset, timed out, cut in the middle, TLS failure."""

    reason = "Network"


class Silent(Network):
    """A stream brought no byte for its whole inactivity time: it is dead, or has nothing to say."""

    reason = "Silent"


class Refused(Network):
    """Nobody listens, or the connection could not be made: nothing was lost, watch again from the same version."""

    reason = "Refused"


class Untrusted(Refused):
    """The certificate that the server shows is not trusted; the message says why, and since when where it has expired."""


class ShortWatch(ApiError):
    """A watch that ended within a second and brought nothing."""

    reason = "ShortWatch"


class Decode(ApiError):
    """Bytes that are not what the API promises."""

    reason = "Decode"


class Fenced(ApiError):
    """A write that was not sent, since this process does not hold the leader lease."""

    reason = "Fenced"


_EXPIRED_REASONS = ("Expired", "Gone")
_CLASSES: dict[int, type[ApiError]] = {
    **dict.fromkeys((400, 405, 406, 413, 415, 422), Invalid),
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
}


def classify(
    code: int, reason: str = "", message: str = "", *, retry_after: float | None = None, location: str = ""
) -> ApiError:
    """The error for a status answer, as HTTP response or as ERROR event.

    Args:
        code: HTTP status, or `code` of a metav1.Status.
        reason: `reason` of the metav1.Status, empty where there is none.
        message: `message` of the metav1.Status.
        retry_after: seconds, from the header or from `details.retryAfterSeconds`.
        location: the header, of a redirection.
    """
    if (
        "Too large resource version" in message
    ):  # 504 Timeout on the wire; the text is the API's only mark (KEP-2340)
        return TooLargeResourceVersion(message, code=code)
    match code:
        case _ if 300 <= code < 400:  # noqa: PLR2004 - the class of status codes
            return Redirected(_redirection(location), code=code)
        case 410:
            return Expired(message, code=code)
        case _ if reason in _EXPIRED_REASONS:
            return Expired(message, code=code)
        case 429:
            return Throttled(message, retry_after=retry_after)
        case 409 if reason == AlreadyExists.reason:
            return AlreadyExists(message, code=code)
        case _ if code in _CLASSES:
            return _CLASSES[code](message, code=code)
        case _:
            return ServerError(message, code=code, retry_after=retry_after)


def _redirection(location: str) -> str:
    """Where to, without the query and the password that a location may hold."""
    scheme, divider, rest = location.partition("?")[0].partition("#")[0].partition("//")
    host, slash, path = rest.partition("/")
    there = f"{scheme}{divider}{host.rpartition('@')[2]}{slash}{path}"
    return f"redirects to {there or 'nowhere'}; an API server does not redirect"
