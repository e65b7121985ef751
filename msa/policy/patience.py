"""How long a failed attempt for an identity is left alone, by the life that its token has left."""

import math
from datetime import datetime, timedelta
from typing import Final

from msa.api.token import Claims

_WITHOUT_TOKEN: Final = 60.0
"""Somebody is locked out by then."""

_LAST_CHANCE: Final = timedelta(minutes=10)


def retry_delay(attempt: int, life_left: timedelta | None, chance: float) -> float:
    """Seconds until a failed rotation is tried again.

    Full jitter below a ceiling that doubles from 1 s to 5 min, and is never more than a tenth of the life that is left, and
    a minute once it is over.

    Args:
        attempt: failures so far, from 0.
        life_left: of the token that is being replaced, not positive when it has expired; None when there is none.
        chance: in [0, 1).
    """
    ceiling = min(300.0, 2.0 ** min(attempt, 9))
    if life_left is not None:
        ceiling = min(ceiling, _longest(life_left))
    return max(0.5, ceiling * chance)


def limited_wait(retry_after: float, life_left: timedelta | None) -> float:
    """Seconds to wait for a server that asked for it: at most a tenth of the life that is left, and a minute without a good token.

    Args:
        retry_after: any number; one that is not finite counts as not said.
        life_left: as for `retry_delay`.
    """
    if not 0 < retry_after < math.inf:
        return 0.0
    return min(retry_after, _longest(life_left) if life_left is not None else _WITHOUT_TOKEN)


def can_wait(claims: Claims, now: datetime) -> bool:
    """Whether a token is good for so long that a replacement that may fail can wait.

    Not in its last ten minutes, at most a tenth of its life: who holds it then still has it, but when it is over everybody is locked out.
    """
    last = min(_LAST_CHANCE, (claims.expires_at - claims.issued_at) / 10)
    return now < claims.expires_at - last


def _longest(life_left: timedelta) -> float:
    return max(1.0, life_left.total_seconds() / 10) if life_left > timedelta() else _WITHOUT_TOKEN
