"""Chains that kubectl takes and OpenSSL alone does not, and such as neither may take.

What Go says to each of them was tried with `x509.Certificate.Verify` of Go 1.26: it is the rule here.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from attrs import evolve, field, frozen
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from msa.kube import chains, one_request
from msa.kube.credentials import Credential, from_kubeconfig
from msa.kube.kubeconfig import Kubeconfig
from msa.kube.transport import Transport
from msa.runtime.errors import Refused, Untrusted
from msa.runtime.metrics import Metrics
from tests.support.issuers import Holder, der, pem
from tests.support.secret_hub import SecretHub, secret_hub

_NOW = datetime.now(UTC)
_FAR = 365 * 40
"""Days: such a date is written with all digits of its year."""


@frozen
class Case:
    """What a server shows, and what a bundle has."""

    shown: list[x509.Certificate]
    bundle: list[x509.Certificate]
    server: Holder


@frozen
class _Parts:
    """An intermediate authority, the two roots that it may be from, and a server."""

    key_ids: bool
    old: Holder = field(init=False)
    new: Holder = field(init=False)
    between: Holder = field(init=False)
    server: Holder = field(init=False)

    def __attrs_post_init__(self) -> None:
        for name in ("old", "new", "between", "server"):
            object.__setattr__(self, name, Holder(name, self.key_ids))

    @property
    def leaf(self) -> x509.Certificate:
        return self.between.issue(self.server, server=True)


def _cross_signed(parts: _Parts) -> Case:
    """As AddTrust's in May 2020: the first way leads to a root that has expired."""
    shown = [parts.leaf, parts.old.issue(parts.between), parts.new.issue(parts.between)]
    bundle = [parts.old.issue(parts.old, days=-1), parts.new.issue(parts.new)]
    return Case(shown, bundle, parts.server)


def _unknown_first(parts: _Parts) -> Case:
    """The first way leads to a root that the bundle does not have."""
    case = _cross_signed(parts)
    return evolve(case, bundle=case.bundle[1:])


def _expired_in_bundle(parts: _Parts) -> Case:
    """The bundle has an intermediate that was renewed since; the server shows the new one."""
    bundle = [parts.old.issue(parts.between, days=-1), parts.new.issue(parts.new)]
    return Case([parts.leaf, parts.new.issue(parts.between)], bundle, parts.server)


def _one_name(parts: _Parts) -> Case:
    """A bundle in the middle of a rotation: two authorities of one name, and a server of the second."""
    first, second = Holder("kubernetes", parts.key_ids), Holder("kubernetes", parts.key_ids)
    shown = [second.issue(parts.server, server=True)]
    return Case(shown, [first.issue(first), second.issue(second)], parts.server)


def _rolled_over(parts: _Parts) -> Case:
    """The new authority is vouched for by the old one of the same name, which alone is trusted."""
    old, new = Holder("kubernetes", parts.key_ids), Holder("kubernetes", parts.key_ids)
    return Case([new.issue(parts.server, server=True), old.issue(new)], [old.issue(old)], parts.server)


def _another_of_its_name_first(parts: _Parts) -> Case:
    other = Holder(parts.between.name, parts.key_ids)
    shown = [parts.leaf, parts.new.issue(other), parts.new.issue(parts.between)]
    return Case(shown, [parts.new.issue(parts.new)], parts.server)


def _unknown(parts: _Parts) -> Case:
    return Case([parts.leaf, parts.old.issue(parts.between)], [parts.new.issue(parts.new)], parts.server)


def _all_expired(parts: _Parts) -> Case:
    shown = [parts.leaf, parts.old.issue(parts.between)]
    return Case(shown, [parts.old.issue(parts.old, days=-1)], parts.server)


def _expired(parts: _Parts) -> Case:
    """The server's own certificate, whatever ways there are."""
    case = _cross_signed(parts)
    ended = parts.between.issue(parts.server, days=-1, server=True)
    return evolve(case, shown=[ended, *case.shown[1:]])


def _trusting_itself(parts: _Parts) -> Case:
    """The server shows a root of its own, named like the one that is trusted."""
    evil = parts.between.renamed(parts.new.name)
    leaf = evil.issue(parts.server, server=True)
    return Case([leaf, evil.issue(evil)], [parts.new.issue(parts.new)], parts.server)


def _issued_by_a_server(parts: _Parts) -> Case:
    """Whoever has a server's certificate is no authority."""
    other = Holder("other")
    shown = [parts.server.issue(other, server=True), parts.new.issue(parts.server, server=True)]
    return Case(shown, [parts.new.issue(parts.new)], other)


_GOOD = (
    _cross_signed,
    _unknown_first,
    _expired_in_bundle,
    _one_name,
    _rolled_over,
    _another_of_its_name_first,
)
_BAD = (_unknown, _all_expired, _expired, _trusting_itself, _issued_by_a_server)


@contextmanager
def _serving(case: Case, folder: Path) -> Iterator[SecretHub]:
    """A server that shows this chain; its kubeconfigs have the bundle."""
    (folder / "ca.crt").write_bytes(pem(case.bundle))
    (folder / "server.crt").write_bytes(pem(case.shown))
    (folder / "server.key").write_bytes(case.server.pem())
    with secret_hub(folder) as hub:
        hub.body = b"hello"
        yield hub


@asynccontextmanager
async def _transport(hub: SecretHub, **cluster: object) -> AsyncIterator[Transport]:
    file = hub.kubeconfig(hub.folder / "kubeconfig", {"token": "s3cret"}, **cluster)
    transport = Transport(partial(from_kubeconfig, file), Metrics(CollectorRegistry()))
    await transport.open()
    yield transport
    await transport.close()


def _credential(hub: SecretHub) -> Credential:
    file = hub.kubeconfig(hub.folder / "kubeconfig", {"token": "s3cret"})
    kubeconfig = Kubeconfig.read((file,), remedy="")
    return kubeconfig.credential(kubeconfig.written())


@pytest.mark.parametrize("key_ids", [True, False], ids=["key ids", "no key ids"])
@pytest.mark.parametrize("build", _GOOD)
async def test_a_server_is_trusted_by_any_way_that_leads_to_the_bundle(
    build: Callable[[_Parts], Case], tmp_path: Path, *, key_ids: bool
) -> None:
    with _serving(build(_Parts(key_ids)), tmp_path) as hub:
        async with _transport(hub) as transport:
            assert await transport.send("GET", "/x") == b"hello"
            async with transport.stream("/x") as stream:
                assert await stream.read() == b"hello"
        assert one_request.get(_credential(hub), "/x") == b"hello"


@pytest.mark.parametrize("key_ids", [True, False], ids=["key ids", "no key ids"])
@pytest.mark.parametrize("build", _BAD)
async def test_a_server_that_no_way_leads_from_is_sent_nothing(
    build: Callable[[_Parts], Case], tmp_path: Path, *, key_ids: bool
) -> None:
    with _serving(build(_Parts(key_ids)), tmp_path) as hub:
        async with _transport(hub) as transport:
            with pytest.raises(Refused, match="not trusted"):
                await transport.send("GET", "/x")
            with pytest.raises(Refused, match="not trusted"):
                async with transport.stream("/x"):
                    pass
        with pytest.raises(Refused, match="not trusted"):
            one_request.get(_credential(hub), "/x")
        assert hub.seen == []


@pytest.mark.parametrize("build", _BAD)
async def test_a_server_that_stays_refused_does_not_cost_the_connections_to_others(
    build: Callable[[_Parts], Case], tmp_path: Path
) -> None:
    """It may be one of several behind one address, the others of which are good: streams go on only while the sessions stay."""
    with _serving(build(_Parts(key_ids=True)), tmp_path) as hub:
        async with _transport(hub) as transport:
            before = transport.credential
            for _ in range(2):
                with pytest.raises(Refused, match="not trusted"):
                    await transport.send("GET", "/x")
            assert transport.credential is before


@pytest.mark.parametrize("at", [0, 1], ids=["the server's", "its issuer's"])
def test_a_certificate_of_a_year_that_no_calendar_has_leads_nowhere(at: int) -> None:
    parts = _Parts(key_ids=True)
    root = parts.new.issue(parts.new, days=_FAR)
    chain = der([parts.between.issue(parts.server, days=_FAR), parts.new.issue(parts.between, days=_FAR)])
    chain[at] = re.sub(rb"\d{14}Z", b"00000101000000Z", chain[at])
    assert chains.way(chain, der([root]), _NOW) == ()
    assert chains.way(chain, [chain[at]], _NOW) == ()


async def test_no_way_helps_a_server_of_another_name(tmp_path: Path) -> None:
    with _serving(_cross_signed(_Parts(key_ids=True)), tmp_path) as hub:
        async with _transport(hub, **{"tls-server-name": "other.example"}) as transport:
            with pytest.raises(Refused, match="Hostname mismatch"):
                await transport.send("GET", "/x")
        assert hub.seen == []


async def test_a_certificate_that_has_expired_is_told_with_its_date(tmp_path: Path) -> None:
    case = _expired(_Parts(key_ids=True))
    with _serving(case, tmp_path) as hub:
        async with _transport(hub) as transport:
            date = f"{case.shown[0].not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
            with pytest.raises(Untrusted, match=date):
                await transport.send("GET", "/x")
        with pytest.raises(Untrusted, match=date):
            one_request.get(_credential(hub), "/x")


async def test_the_other_way_is_searched_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[chains.Place] = []
    original = chains.shown

    def shown(place: chains.Place) -> tuple[bytes, ...]:
        asked.append(place)
        return original(place)

    monkeypatch.setattr(chains, "shown", shown)
    with _serving(_cross_signed(_Parts(key_ids=True)), tmp_path) as hub:
        async with _transport(hub) as transport:
            for _ in range(3):
                await transport.send("GET", "/x")
            async with transport.stream("/x"):
                pass
    assert len(asked) == 1


async def test_a_server_that_comes_to_show_another_chain_is_judged_by_the_whole_bundle(
    tmp_path: Path,
) -> None:
    """What is trusted is narrowed for the one way that was found; the next search has all of it again."""
    parts = _Parts(key_ids=False)
    first = _one_name(parts)
    with _serving(first, tmp_path) as hub:
        async with _transport(hub) as transport:
            assert await transport.send("GET", "/x") == b"hello"
            narrowed = transport.credential
            assert narrowed.trust is not None
            assert narrowed.tls is not None
            assert der(first.bundle[1:]) == narrowed.tls.get_ca_certs(binary_form=True)
            assert der(first.bundle) == list(narrowed.trust.anchors)


def test_as_many_certificates_as_a_server_likes_cost_a_bounded_search() -> None:
    """All of one name, each issued by all others: there are more ways than any machine can try."""
    holders = [Holder("between", key_ids=False) for _ in range(8)]
    shown = [holders[0].issue(Holder("server"), server=True)]
    shown += [issuer.issue(subject) for issuer in holders for subject in holders if issuer is not subject]
    root = Holder("root")
    assert chains.way(der(shown), der([root.issue(root)]), _NOW) == ()


@given(st.lists(st.binary(max_size=50), max_size=4), st.lists(st.binary(max_size=50), max_size=4))
def test_what_is_no_certificate_leads_nowhere(shown: list[bytes], anchors: list[bytes]) -> None:
    assert chains.way(shown, anchors, _NOW) == ()


def test_a_server_that_cannot_be_reached_shows_nothing() -> None:
    assert chains.shown(chains.Place("127.0.0.1", 1)) == ()
