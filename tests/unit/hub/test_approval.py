"""Certificate signing requests, with a scripted hub: which are approved, which are looked at again, and what is told of them."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from msa.api.certificates import SigningRequest, SigningRequestStatus
from msa.api.cluster import ClusterSpec
from msa.api.meta import Condition
from msa.hub.approval import SELECTOR, ApprovalReconciler
from msa.hub.telemetry import Telemetry
from msa.policy.doubts import Reason
from msa.runtime.errors import ApiError, Conflict, Forbidden, NotFound
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder
from msa.runtime.result import Done, Key, Terminal
from tests.conftest import START
from tests.support.candidates import ADDON, CLUSTER, TENTH_USER, asked, candidate
from tests.support.fleet import Fleet, with_
from tests.support.sent import Sent

REQUEST = with_(candidate().request, uid="csr-uid")
NAME = Key(REQUEST.metadata.name)
UNACCEPTED = replace(CLUSTER, spec=ClusterSpec(hub_accepts_client=False))


@pytest.fixture
def fleet(fleet: Fleet) -> Fleet:
    """A hub on which the agent of c1 has just asked for its certificate."""
    fleet.put(CLUSTER, ADDON, REQUEST)
    return fleet


def _reconciler(fleet: Fleet) -> ApprovalReconciler:
    return ApprovalReconciler(
        fleet.requests,
        fleet.clusters,
        fleet.addons,
        fleet,
        fleet,
        lambda request: request.spec.request or None,
        START,
    )


async def test_an_honest_request_is_approved_once_and_told_once(fleet: Fleet) -> None:
    reconcile = _reconciler(fleet)
    assert await reconcile(NAME) == Done()
    assert await reconcile(NAME) == Done()
    assert fleet.writes == [f"approve {NAME}"]
    assert fleet.observed == [("approved", NAME)]


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (replace(REQUEST, spec=replace(REQUEST.spec, signer_name="example.com/s")), Reason.SIGNER),
        (replace(REQUEST, spec=replace(REQUEST.spec, request=asked(TENTH_USER))), Reason.COMMON_NAME),
        (replace(REQUEST, spec=replace(REQUEST.spec, request="bm8=")), Reason.NOT_PEM),
        (replace(REQUEST, spec=replace(REQUEST.spec, request="")), Reason.TOO_MANY),
        (
            with_(
                REQUEST,
                labels={**(REQUEST.metadata.labels or {}), "open-cluster-management.io/cluster-name": "c2"},
            ),
            Reason.CLUSTER_UNKNOWN,
        ),
    ],
)
async def test_a_request_in_doubt_is_left_undecided_and_tried_no_more(
    fleet: Fleet, forged: SigningRequest, reason: Reason
) -> None:
    fleet.put(forged)
    assert await _reconciler(fleet)(NAME) == Terminal(reason)
    assert not fleet.writes
    assert fleet.observed == [("doubted", NAME, reason)]


@pytest.mark.parametrize(
    "status",
    [
        SigningRequestStatus((Condition("Approved", "True"),)),
        SigningRequestStatus((Condition("Denied", "True"),)),
        SigningRequestStatus((Condition("Failed", "True"),)),
        SigningRequestStatus(certificate="c2lnbmVk"),
    ],
)
async def test_a_request_that_somebody_has_decided_is_not_touched_and_not_told_of(
    fleet: Fleet, status: SigningRequestStatus
) -> None:
    fleet.put(replace(REQUEST, status=status))
    assert await _reconciler(fleet)(NAME) == Done()
    assert not fleet.writes
    assert not fleet.observed


async def test_a_request_that_is_gone_is_nobodys_business(fleet: Fleet) -> None:
    fleet.take(REQUEST)
    assert await _reconciler(fleet)(NAME) == Done()
    assert not fleet.writes


async def test_a_request_in_doubt_is_approved_once_its_cluster_is_accepted(fleet: Fleet) -> None:
    fleet.put(UNACCEPTED)
    reconcile = _reconciler(fleet)
    assert await reconcile(NAME) == Terminal(Reason.CLUSTER_NOT_ACCEPTED)
    fleet.put(CLUSTER)
    assert await reconcile(NAME) == Done()
    assert fleet.writes == [f"approve {NAME}"]


async def test_a_request_in_doubt_is_approved_once_the_addon_is_there(fleet: Fleet) -> None:
    fleet.take(ADDON)
    reconcile = _reconciler(fleet)
    assert await reconcile(NAME) == Terminal(Reason.ADDON_MISSING)
    fleet.put(ADDON)
    assert await reconcile(NAME) == Done()


async def test_the_same_doubt_is_told_once_however_often_the_request_is_looked_at(fleet: Fleet) -> None:
    """It is looked at whenever its cluster or its addon changes, and these change often."""
    fleet.put(UNACCEPTED)
    reconcile = _reconciler(fleet)
    for _ in range(3):
        await reconcile(NAME)
    assert fleet.observed == [("doubted", NAME, Reason.CLUSTER_NOT_ACCEPTED)]


async def test_another_doubt_is_told_and_so_is_the_doubt_in_another_request_of_that_name(
    fleet: Fleet,
) -> None:
    reconcile = _reconciler(fleet)
    fleet.put(UNACCEPTED)
    await reconcile(NAME)
    fleet.put(CLUSTER)
    fleet.take(ADDON)
    await reconcile(NAME)
    fleet.put(with_(REQUEST, uid="another"))
    await reconcile(NAME)
    assert [entry[2] for entry in fleet.observed] == [
        Reason.CLUSTER_NOT_ACCEPTED,
        Reason.ADDON_MISSING,
        Reason.ADDON_MISSING,
    ]


async def test_of_a_request_that_is_gone_or_decided_nothing_is_remembered(fleet: Fleet) -> None:
    reconcile = _reconciler(fleet)
    fleet.put(UNACCEPTED)
    await reconcile(NAME)
    assert reconcile._told
    fleet.take(REQUEST)
    await reconcile(NAME)
    assert not reconcile._told


@pytest.mark.parametrize("error", [Conflict("changed"), NotFound("gone")])
async def test_a_request_that_changed_or_went_meanwhile_is_left_to_its_own_event(
    fleet: Fleet, error: ApiError
) -> None:
    fleet.error = error
    assert await _reconciler(fleet)(NAME) == Done()
    assert not fleet.observed


async def test_an_approval_that_the_hub_refuses_is_a_failure_and_not_told_as_done(fleet: Fleet) -> None:
    fleet.error = Forbidden("no")
    with pytest.raises(Forbidden):
        await _reconciler(fleet)(NAME)
    assert not fleet.observed


@pytest.mark.parametrize(("age", "line"), [(timedelta(minutes=2), "debug"), (timedelta(), "warning")])
async def test_what_an_earlier_process_has_logged_is_logged_no_more_and_the_rest_in_one_line(
    fleet: Fleet, logged: list[Any], age: timedelta, line: str
) -> None:
    fleet.put(UNACCEPTED, with_(REQUEST, creation_timestamp=START - age))
    metrics = Metrics(CollectorRegistry())
    telemetry = Telemetry(metrics, EventRecorder(Sent("events", []), fleet.now, metrics), "v1beta1")  # type: ignore[arg-type]  # never run
    reconcile = ApprovalReconciler(
        fleet.requests, fleet.clusters, fleet.addons, fleet, telemetry, lambda _request: asked(), START
    )
    for _ in range(3):
        await reconcile(NAME)
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("csr_undecided", line)]


def test_requests_of_other_addons_are_not_even_read() -> None:
    assert SELECTOR == "open-cluster-management.io/addon-name=managed-serviceaccount"
