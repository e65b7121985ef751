"""OCM's approval of certificates for an agent that comes from an AddOnTemplate: less strict than our own manager's."""

from base64 import b64decode

from attrs import frozen

from hack.ocm import kinds, signing
from hack.ocm.api import Api, Object
from hack.ocm.registrations import CLIENT_SIGNER, default_subject
from msa.api import names
from msa.runtime.result import Done, Key, Result
from msa.runtime.store import Store

_DEPRECATED = {"system:authenticated"}


@frozen
class Approvals:
    """One CertificateSigningRequest; the key is its name."""

    api: Api
    addons: Store[Object]
    requests: Store[Object]

    async def __call__(self, key: Key) -> Result:
        request = self.requests.get(key)
        if request is None or request.status.get("conditions") or not self._right(request):
            return Done()
        path = kinds.SIGNING_REQUESTS.at("", key)
        stored = await self.api.get(path)
        if stored is not None:
            said = {
                "type": "Approved",
                "status": "True",
                "reason": "AutoApprovedByHubCSRApprovingController",
                "message": "Auto approving addon agent certificate.",
            }
            await self.api.update(f"{path}/approval", stored | {"status": {"conditions": [said]}})
        return Done()

    def _right(self, request: Object) -> bool:
        cluster = request.metadata.label(kinds.LABEL_CLUSTER)
        addon = self.addons.get(f"{cluster}/{names.ADDON}")
        references = addon.status.get("configReferences", ()) if addon is not None else ()
        if request.spec["signerName"] != CLIENT_SIGNER or not any(map(kinds.is_template, references)):
            return False
        wanted = default_subject(cluster)
        user, groups = signing.requested_subject(b64decode(request.spec["request"]))
        return (
            user == wanted["user"]
            and set(groups) - _DEPRECATED == set(wanted["groups"])
            and request.spec["username"].startswith(f"system:open-cluster-management:{cluster}")
        )
