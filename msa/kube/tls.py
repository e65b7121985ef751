"""TLS to an API server, from PEM as kubeconfigs carry it."""

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from attrs import frozen

from msa import pem

CA, CERTIFICATE, KEY = "certificate-authority", "client-certificate", "client-key"
"""The kubeconfig's names for them."""


def context(tls: Mapping[str, bytes], *, verify: bool) -> ssl.SSLContext:
    """A client's context.

    Args:
        tls: PEM by the kubeconfig's names: without a CA the system's are trusted, without a certificate none is shown.
        verify: whether the server must prove who it is.

    Raises:
        ValueError: the CA bundle holds no certificate that can be read, or the client's certificate and key cannot be used.
    """
    made = _trusting(trusted(tls[CA]) if CA in tls else None, tls)
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


@frozen(repr=False)
class Trust:
    """What a server's certificate may lead to, and how to trust less of it.

    Attributes:
        whole: the context that trusts all of it.
        tls: what that was made of, as for `context`.
    """

    whole: ssl.SSLContext
    tls: Mapping[str, bytes]

    @property
    def anchors(self) -> Sequence[bytes]:
        """The certificates that are trusted, in DER."""
        return self.whole.get_ca_certs(binary_form=True)

    def narrowed(self, way: Sequence[bytes]) -> ssl.SSLContext:
        """A context like the whole one, for one way.

        Args:
            way: certificates in DER, of which those alone are trusted that issued themselves; the others lead to them.
        """
        made = _trusting(b"".join(way), self.tls)
        made.verify_flags &= ~ssl.VERIFY_X509_PARTIAL_CHAIN
        return made


def _trusting(authorities: bytes | None, tls: Mapping[str, bytes]) -> ssl.SSLContext:
    """Raises ValueError where the client's certificate and key cannot be used."""
    made = ssl.create_default_context(cadata=authorities)
    # As Go does, whatever this version of Python does: an intermediate authority may be all that is trusted, and a certificate without
    # the identifier of its authority's key, which many clusters have, is good.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if CERTIFICATE in tls:
        _show(made, tls[CERTIFICATE] + b"\n" + tls.get(KEY, b""))
    return made


def _show(made: ssl.SSLContext, certificate_and_key: bytes) -> None:
    try:
        with _as_file(certificate_and_key) as name:
            made.load_cert_chain(name, password=_refuse)  # else OpenSSL would ask at the terminal
    except ssl.SSLError as error:
        pair = "client-certificate and client-key"
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"{pair} do not belong together: write both of one login") from None
        raise ValueError(f"{pair} are not a certificate and its key in PEM: write both anew") from None


def _refuse() -> str:
    raise ValueError("client-key is encrypted: write it without a password")


def trusted(bundle: bytes) -> bytes:
    """The certificates of a CA bundle as `ssl` takes them, whatever else the bundle holds.

    Raises:
        ValueError: it holds none that can be read.
    """
    if not (found := pem.certificates(bundle)):
        raise ValueError("the CA bundle holds no certificate that can be read: it must be PEM")
    return b"".join(found)


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """The name of a file with this content: `ssl` reads keys from nothing else. In memory where the system has that."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("client"), "wb", buffering=0) as file:
            file.write(content)
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        from tempfile import NamedTemporaryFile  # noqa: PLC0415 - seldom needed

        with NamedTemporaryFile(buffering=0) as file:
            file.write(content)
            yield file.name
