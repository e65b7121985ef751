"""What is kept of a ManagedServiceAccount and of a Secret."""

import msgspec
import pytest

from msa.agent.ingest import CredentialIngest, slim_identity
from msa.api import names
from msa.api.core import Credential, Secret
from msa.api.managedserviceaccount import Status, StoredIdentity
from msa.api.meta import ObjectMeta

_OBJECT = (
    '{"metadata":{"name":"one","namespace":"cluster1","uid":"u","labels":{"a":"b"}},"spec":{},"status":%s}'
)


def _read(status: str) -> Status:
    stored = msgspec.json.decode(_OBJECT % status, type=StoredIdentity)
    return slim_identity(stored).status


def test_the_status_is_kept() -> None:
    status = _read('{"observedGeneration":3,"expirationTimestamp":"2026-01-01T00:00:00Z","audiences":["a"]}')
    assert (status.observed_generation, status.audiences) == (3, ("a",))
    assert status.expiration_timestamp is not None


@pytest.mark.parametrize(
    "status",
    [
        '{"expirationTimestamp":"2026-01-01 00:00"}',
        '{"expirationTimestamp":"0000-01-01T00:00:00Z"}',
        '{"conditions":[{"type":"Ready"}]}',
        '{"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"once"}]}',
        '"none"',
        "null",
    ],
)
def test_a_status_that_cannot_be_read_counts_as_empty_and_hides_no_identity(status: str) -> None:
    assert _read(status) == Status()


def test_labels_of_users_are_not_kept() -> None:
    assert slim_identity(msgspec.json.decode(_OBJECT % "{}", type=StoredIdentity)).metadata.labels is None


def _kept(**labels: str) -> Credential:
    metadata = ObjectMeta(name="one", labels={"team": "blue", **labels})
    return CredentialIngest(lambda: None)(Secret(metadata))


def test_of_a_secrets_labels_ours_are_kept_and_that_of_a_copy_in_one_dict_for_all() -> None:
    ours = {names.LABEL_MANAGED: "true"}
    copy = _kept(**ours, **{names.LABEL_SYNCED_FROM: "c1-one"}).metadata.labels
    assert copy is not None
    assert set(copy) == {names.LABEL_MANAGED, names.LABEL_SYNCED_FROM}
    assert copy is _kept(**ours, **{names.LABEL_SYNCED_FROM: "c1-two"}).metadata.labels
    assert _kept(**ours).metadata.labels is names.MANAGED_LABELS
    assert _kept().metadata.labels is None
    assert _kept(**{names.LABEL_SYNCED_FROM: "c1-one"}).metadata.labels is None
