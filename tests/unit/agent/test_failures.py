"""What users read when an API server says no."""

import pytest

from msa.agent.failures import Asking, Side, Stopped, asking
from msa.runtime.errors import (
    AlreadyExists,
    ApiError,
    CertificateExpired,
    Conflict,
    Decode,
    Fenced,
    Forbidden,
    Invalid,
    Network,
    NotFound,
    Refused,
    ServerError,
    Throttled,
    Unauthorized,
    Untrusted,
)


@pytest.mark.parametrize(
    ("what", "error", "reason"),
    [
        (Asking.ACCOUNT, Invalid("no"), "ServiceAccountRefused"),
        (Asking.TOKEN, Invalid("no"), "TokenRequestRefused"),
        (Asking.SECRET, Invalid("no"), "SecretRefused"),
        (Asking.TOKEN, Forbidden("no"), "ForbiddenOnManagedCluster"),
        (Asking.SECRET, Forbidden("no"), "ForbiddenOnHub"),
        (Asking.ACCOUNT, Unauthorized("no"), "UnauthorizedOnManagedCluster"),
        (Asking.SECRET, Unauthorized("no"), "UnauthorizedOnHub"),
        (Asking.TOKEN, Throttled("no"), "ManagedClusterBusy"),
        (Asking.SECRET, Throttled("no"), "HubBusy"),
        (Asking.TOKEN, NotFound("namespace gone"), "ManagedClusterNotReady"),
        (Asking.TOKEN, Network("no"), "ManagedClusterUnreachable"),
        (Asking.ACCOUNT, Refused("no"), "ManagedClusterUnreachable"),
        (Asking.SECRET, ServerError("no", code=500), "HubUnreachable"),
        (Asking.SECRET, Decode("no"), "HubUnreachable"),
    ],
)
def test_each_refusal_has_its_reason(what: Asking, error: ApiError, reason: str) -> None:
    with pytest.raises(Stopped) as caught, asking(what):
        raise error
    assert caught.value.trouble.reason == reason
    assert caught.value.side is what.value.side
    assert not caught.value.refused
    assert caught.value.passing is not isinstance(error, Invalid), "what is not valid stays so"


@pytest.mark.parametrize(
    ("what", "error", "reason"),
    [
        (
            Asking.SECRET,
            CertificateExpired("the client certificate expired at 2026-01-02T03:04:05Z"),
            "UnauthorizedOnHub",
        ),
        (
            Asking.TOKEN,
            CertificateExpired("the client certificate expired at 2026-01-02T03:04:05Z"),
            "UnauthorizedOnManagedCluster",
        ),
        (
            Asking.SECRET,
            Untrusted("hub:6443: not trusted: it expired at 2026-01-02T03:04:05Z"),
            "HubUnreachable",
        ),
        (
            Asking.ACCOUNT,
            Untrusted("c1:6443: not trusted: it expired at 2026-01-02T03:04:05Z"),
            "ManagedClusterUnreachable",
        ),
    ],
)
def test_an_expired_certificate_is_named_with_its_date(what: Asking, error: ApiError, reason: str) -> None:
    with pytest.raises(Stopped) as caught, asking(what):
        raise error
    assert caught.value.trouble.reason == reason
    assert "expired at 2026-01-02T03:04:05Z" in caught.value.trouble.message


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (Asking.TOKEN, Conflict("uid")),
        (Asking.SECRET, AlreadyExists("made meanwhile")),
        (Asking.SECRET, Fenced("no lead")),
        (Asking.SECRET, NotFound("deleted meanwhile")),
    ],
)
def test_what_the_next_look_mends_is_told_to_nobody(what: Asking, error: ApiError) -> None:
    with pytest.raises(type(error)), asking(what):
        raise error


def test_the_servers_own_words_and_a_remedy_are_in_the_message() -> None:
    with pytest.raises(Stopped) as caught, asking(Asking.TOKEN):
        raise Invalid("spec.audiences[0]: may not be so")
    assert "spec.audiences[0]: may not be so" in caught.value.trouble.message
    assert "check spec.audiences" in caught.value.trouble.message


@pytest.mark.parametrize(
    "error", [Throttled("later", retry_after=60.0), ServerError("later", retry_after=60.0)]
)
def test_the_wait_that_a_server_asks_for_is_kept(error: ApiError) -> None:
    with pytest.raises(Stopped) as caught, asking(Asking.SECRET):
        raise error
    assert caught.value.retry_after == 60.0
    assert caught.value.side is Side.HUB
