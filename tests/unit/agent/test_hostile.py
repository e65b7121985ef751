"""Whatever tenants, other programs and servers store, an identity's decision, status and patch are made of it without an error."""

import contextlib
import json
from base64 import b64encode, urlsafe_b64encode
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msa.agent import bodies
from msa.agent.ingest import CredentialIngest, slim_account, slim_identity
from msa.agent.keyset import KeySet
from msa.api import names
from msa.api.core import Credential, Secret, ServiceAccount, StoredServiceAccount
from msa.api.jwt import Malformed, parse
from msa.api.managedserviceaccount import ManagedServiceAccount, Status, StoredIdentity
from msa.policy import ownership, status
from msa.policy.ephemeral import end_of_life
from msa.policy.rotation import InvalidSpec, Kind, Request, Snapshot, refresh_time, violation
from msa.policy.status import Holding
from tests.support import builders
from tests.support.builders import START
from tests.support.hostile import TEXTS, TIMES, bytes_for

_CALM = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
_TEXTS = st.sampled_from((*TEXTS, *TIMES)) | st.text(max_size=30)
_SECONDS = st.integers() | st.sampled_from((0, -1, 2**31, 2**40, 253402300799, 10**30)) | st.floats() | _TEXTS
_INGEST = CredentialIngest(lambda: None)


def _decoded(kind: type[Any], data: st.DataObject) -> Any:
    try:
        return msgspec.json.decode(data.draw(bytes_for(kind)), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _judge(identity: ManagedServiceAccount, account: ServiceAccount, credential: Credential | None) -> None:
    """All that the agent computes of them."""
    try:
        request = Request.from_spec(identity.spec)
    except InvalidSpec:
        request = Request((), 3600)
    view = builders.snapshot(None).cluster
    found = violation(Snapshot(identity, account, credential, view, request), START)
    assert found is None or found.message
    end_of_life(identity)
    ownership.owns_account(identity, account)
    wanted = status.wanted(identity, Holding(account, credential), request, None, START, ephemeral=False)
    assert json.loads(msgspec.json.encode(bodies.status_patch(identity, wanted)))
    if credential is not None:
        ownership.owns_secret(identity, credential)
        assert credential.token is None or Kind.of(credential.token) is not None or credential.token.malformed


@_CALM
@given(data=st.data())
def test_any_managed_service_account_is_judged_and_reported_on(data: st.DataObject) -> None:
    stored = _decoded(StoredIdentity, data)
    if stored is not None:
        _judge(slim_identity(stored), builders.account(), builders.credential())


@_CALM
@given(data=st.data())
def test_any_secret_is_judged_and_reported_on(data: st.DataObject) -> None:
    stored = _decoded(Secret, data)
    if stored is not None:
        _judge(builders.identity(), builders.account(), _INGEST(stored))


@_CALM
@given(data=st.data())
def test_any_service_account_is_judged_and_reported_on(data: st.DataObject) -> None:
    stored = _decoded(StoredServiceAccount, data)
    if stored is not None:
        _judge(builders.identity(), slim_account(stored), builders.credential())


def _part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@_CALM
@given(
    claims=st.fixed_dictionaries(
        {"sub": _TEXTS, "iat": _SECONDS, "exp": _SECONDS},
        optional={"aud": _TEXTS | st.lists(_TEXTS, max_size=3), "iss": _TEXTS, "kubernetes.io": st.just({})},
    ),
    marks=st.dictionaries(
        st.sampled_from(
            (names.ANNOTATION_REQUESTED, names.ANNOTATION_EXPIRATION, names.ANNOTATION_LAST_REFRESH)
        ),
        _TEXTS,
    ),
)
def test_any_claims_and_annotations_are_judged_and_reported_on(
    claims: dict[str, Any], marks: dict[str, str]
) -> None:
    token = f"{_part({'alg': 'RS256', 'kid': 'k'})}.{_part(claims)}.c2ln"
    metadata = {"name": "one", "namespace": "cluster1", "annotations": marks, "labels": names.MANAGED_LABELS}
    body = {"metadata": metadata, "data": {"token": b64encode(token.encode()).decode()}}
    credential = _INGEST(msgspec.convert(body, type=Secret))
    _judge(builders.identity(), builders.account(), credential)
    if (said := credential.claims) is not None:
        assert abs(refresh_time(said, "uid") - said.issued_at) < timedelta(days=366 * 8000)


@_CALM
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_token_or_malformed(content: bytes) -> None:
    with contextlib.suppress(Malformed):
        parse(content)


_KEYS = st.recursive(
    st.none() | st.integers() | _TEXTS | st.sampled_from(("RSA", "EC", "P-256", "AQAB")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("kty", "kid", "n", "e", "crv", "x", "y", "keys")), inner, max_size=7
        )
    ),
    max_leaves=12,
)


@_CALM
@given(_KEYS)
def test_any_document_is_a_key_set_or_a_value_error(document: object) -> None:
    with contextlib.suppress(ValueError):
        KeySet.from_jwks(json.dumps(document).encode())


@pytest.mark.parametrize(
    "bad",
    [
        {"kty": "RSA", "n": "", "e": "AQAB"},
        {"kty": "RSA", "n": 5, "e": []},
        {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"},
        {"kty": "EC", "crv": [], "x": "AQ", "y": "AQ"},
        "no key",
        None,
    ],
)
def test_a_key_that_cannot_be_read_does_not_hide_the_others(bad: object) -> None:
    good = json.loads(builders.jwks("good"))["keys"]
    assert KeySet.from_jwks(json.dumps({"keys": [bad, *good]}).encode()).key_ids == {"good"}


@pytest.mark.parametrize("depth", [960, 100_000])
def test_json_of_any_depth_is_unreadable_and_no_crash(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    with pytest.raises(ValueError, match="not a JWK set"):
        KeySet.from_jwks(b'{"keys":' + deep + b"x}")
    stored = StoredIdentity(builders.identity().metadata, status=msgspec.Raw(b'{"x":' + deep + b"}"))
    assert slim_identity(stored).status == Status()
