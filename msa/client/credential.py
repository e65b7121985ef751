"""What a consumer gets: one cluster's address and CA, and the token for it."""

import ssl
from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from msa.api.token import Token
from msa.client.errors import TokenError


@frozen
class Identity:
    """A ManagedServiceAccount that was found.

    Attributes:
        cluster: the managed cluster, which is the namespace on the hub.
        labels: the ManagedServiceAccount's.
        ready: whether its token can be used: there is one, and the condition Ready, where the hub has one, is True. It is not while the
            agent is unavailable, after the token expired, or after the addon was removed from the cluster.
    """

    cluster: str
    name: str
    labels: Mapping[str, str]
    ready: bool


@frozen
class Address:
    """Where a managed cluster is reached.

    Attributes:
        url: without a slash at the end.
        ca: CAs in PEM that its certificate may be from beside the cluster's own; empty where there are none.
    """

    url: str
    ca: bytes = b""


@frozen(eq=False)
class ClusterCredential:
    """All that a request to one managed cluster needs, as it is at this moment. It cannot be pickled, and hides its token.

    Attributes:
        token: `reveal()` gives the text.
        ca: CAs in PEM, those of the Secret and those of the ManagedCluster.
        expires_at: as the token itself says.
    """

    cluster: str
    name: str
    token: Token
    ca: bytes = field(repr=False)
    expires_at: datetime
    _address: Address | TokenError = field(repr=False)

    @property
    def server(self) -> str:
        """The API server's address, without a slash at the end.

        Raises:
            TokenError: the hub does not tell it, or not to this program.
        """
        if isinstance(self._address, TokenError):
            raise self._address.with_traceback(None)
        return self._address.url

    def headers(self) -> dict[str, str]:
        """The header that says who is calling, with the token as it was when this credential was read."""
        return bearer(self.token)

    def ssl_context(self) -> ssl.SSLContext:
        """A new one that trusts the CAs of this credential, and no others.

        Raises:
            TokenError: they are none.
        """
        from msa.client.connect import tls_context  # noqa: PLC0415 - what it costs is paid by who uses it

        try:
            return tls_context(self.ca)
        except ValueError as error:
            raise TokenError(
                f"the CAs of cluster {self.cluster} are not usable, see ca.crt of Secret {self.cluster}/{self.name} on the hub and"
                f" caBundle of ManagedCluster {self.cluster}: {error}"
            ) from None


def bearer(token: Token) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.reveal()}"}
