"""What a consumer can be told; every message is one line that names the object and what would help. No token is ever in it."""


class TokenError(Exception):
    """There is no usable token, or no way to ask for it."""


class Missing(TokenError):
    """The hub has no token of that name: never had, not yet, or no longer."""


class Expired(TokenError):
    """The token on the hub has run out, and nobody has renewed it."""


class Denied(TokenError):
    """The hub answers, and does not let this program read what it needs."""


class Unreachable(TokenError):
    """The hub does not answer."""
