"""What certificate signing requests ask for, kept apart from the requests: it is their largest part, and of an asker's only the newest count."""

from datetime import datetime
from typing import Final

from attrs import field, frozen
from msgspec.structs import replace

from msa.api import addon as addon_api
from msa.api.certificates import SigningRequest, SigningRequestSpec, SigningRequestStatus
from msa.api.durations import EARLIEST
from msa.api.subjects import asker
from msa.hub import bounds
from msa.policy.approval import MOST_UNDECIDED
from msa.policy.signing_request import shortened
from msa.runtime.store import Change

_LABELS: Final = (addon_api.LABEL_ADDON, addon_api.LABEL_CLUSTER)


@frozen
class _Held:
    created: datetime | None
    text: str


@frozen
class RequestTexts:
    """Of each asker the newest undecided requests.

    Attributes:
        _held: by asker, as the API server knows him (labels are anybody's), and by UID.
    """

    _held: dict[str, dict[str, _Held]] = field(factory=dict, init=False)

    def keep(self, stored: SigningRequest) -> SigningRequest:
        """What the cache has of a request; what it asks for is held here while it is undecided."""
        kept = _slim(stored)
        if kept.decided:
            self._forget(kept)
        else:
            self._hold(kept, shortened(stored.spec.request))
        return kept

    def text(self, request: SigningRequest) -> str | None:
        """`spec.request`; None where it is not held any more, since the same asker has too many newer ones."""
        held = self._held.get(asker(request.spec.username), {}).get(request.metadata.uid)
        return held.text if held is not None else None

    def changed(self, change: Change[SigningRequest]) -> None:
        """Lets go of what is gone, and of what had the name before."""
        old, new = change.old, change.new
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._forget(old)

    def _hold(self, request: SigningRequest, text: str) -> None:
        held = self._held.setdefault(asker(request.spec.username), {})
        held[request.metadata.uid] = _Held(request.metadata.creation_timestamp, text)
        if len(held) > MOST_UNDECIDED:
            del held[min(held, key=lambda uid: (held[uid].created or EARLIEST, uid))]

    def _forget(self, request: SigningRequest) -> None:
        who = asker(request.spec.username)
        held = self._held.get(who, {})
        held.pop(request.metadata.uid, None)
        if not held:
            self._held.pop(who, None)


def _slim(stored: SigningRequest) -> SigningRequest:
    spec, status = stored.spec, stored.status
    return SigningRequest(
        replace(
            bounds.metadata(stored.metadata, labels=_LABELS.__contains__, annotations=bounds.no_mark),
            owner_references=(),
            finalizers=(),
        ),
        SigningRequestSpec(
            signer_name=bounds.cut(spec.signer_name),
            usages=bounds.cut(spec.usages),
            expiration_seconds=spec.expiration_seconds,
            username=bounds.cut(spec.username),
            groups=bounds.cut(spec.groups),
        ),
        SigningRequestStatus(
            tuple(replace(item, message="", reason="") for item in bounds.cut(status.conditions)),
            status.certificate[:1],
        ),
    )
