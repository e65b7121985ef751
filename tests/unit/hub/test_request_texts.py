"""What certificate signing requests ask for: held while it counts, and of an asker never more than his share."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from msa.api.certificates import SigningRequest, SigningRequestStatus
from msa.api.meta import Condition
from msa.hub.request_texts import RequestTexts
from msa.policy.approval import MOST_UNDECIDED
from msa.runtime.store import Change, key_of
from tests.conftest import START
from tests.support.candidates import candidate
from tests.support.fleet import with_

TEXT = candidate().request.spec.request


def _request(
    number: int, user: str = "system:open-cluster-management:c1:agent1", **spec: Any
) -> SigningRequest:
    made = candidate(username=user, **spec).request
    created = START + timedelta(seconds=number)
    return with_(made, name=f"csr-{number}", uid=f"uid-{number}", creation_timestamp=created)


def test_the_cache_has_no_text_and_it_is_found_apart() -> None:
    texts = RequestTexts()
    kept = texts.keep(_request(1))
    assert kept.spec.request == ""
    assert texts.text(kept) == TEXT


def test_of_an_asker_only_the_newest_are_held_in_whatever_order_they_come() -> None:
    texts = RequestTexts()
    kept = [texts.keep(_request(number)) for number in (*range(100, 0, -1), 101)]
    assert [item.metadata.name for item in kept if texts.text(item)] == [
        *(f"csr-{number}" for number in range(100, 101 - MOST_UNDECIDED, -1)),
        "csr-101",
    ]


def test_another_clusters_requests_are_not_pushed_out_though_all_are_labelled_with_its_name() -> None:
    texts = RequestTexts()
    honest = texts.keep(_request(0))
    for number in range(1, 100):
        texts.keep(_request(number, f"system:open-cluster-management:c2:agent{number}"))
    assert texts.text(honest) == TEXT


def test_nothing_is_held_of_what_is_decided_or_gone_or_has_been_replaced() -> None:
    texts = RequestTexts()
    first, second, third = (texts.keep(_request(number)) for number in range(3))
    texts.keep(replace(_request(0), status=SigningRequestStatus((Condition("Approved", "True"),))))
    texts.changed(Change(key_of(second), second, None))
    texts.changed(Change(key_of(third), third, with_(third, uid="another")))
    assert not any(texts.text(item) for item in (first, second, third))
    assert not texts._held


def test_a_text_that_is_too_long_is_held_as_a_mark_of_its_length() -> None:
    texts = RequestTexts()
    kept = texts.keep(_request(1, request="A" * 1_400_000))
    assert texts.text(kept) == "oversized:1400000"
