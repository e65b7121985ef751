"""certificates.k8s.io/v1 CertificateSigningRequest, as a wire type."""

from typing import Final

from msgspec import Struct

from msa.api.meta import Condition, ObjectMeta

GROUP: Final = "certificates.k8s.io"
CLIENT_SIGNER: Final = "kubernetes.io/kube-apiserver-client"
APPROVED: Final = "Approved"


class SigningRequestSpec(Struct, frozen=True, gc=False, rename="camel"):
    """What was asked for, and by whom; the API server vouches for the latter.

    Attributes:
        request: base64 of the PEM text.
        expiration_seconds: None where it asks for none.
        username: the requester's.
        groups: the requester's.
    """

    request: str = ""
    signer_name: str = ""
    usages: tuple[str, ...] = ()
    expiration_seconds: int | None = None
    username: str = ""
    groups: tuple[str, ...] = ()


class SigningRequestStatus(Struct, frozen=True, gc=False, rename="camel"):
    conditions: tuple[Condition, ...] = ()
    certificate: str = ""


class SigningRequest(Struct, frozen=True, gc=False, rename="camel"):
    metadata: ObjectMeta
    spec: SigningRequestSpec = SigningRequestSpec()
    status: SigningRequestStatus = SigningRequestStatus()

    @property
    def decided(self) -> bool:
        """Whether somebody approved or denied it, or it has its certificate already."""
        return bool(self.status.conditions) or bool(self.status.certificate)
