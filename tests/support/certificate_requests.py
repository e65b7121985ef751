"""CertificateSigningRequests on a real hub: made under somebody's real identity, and what became of them."""

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Final

import yaml
from attrs import frozen
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hack.clusters import Cluster
from hack.processes import wait_until
from msa.api import subjects
from msa.api.addon import LABEL_ADDON, LABEL_CLUSTER
from msa.api.certificates import CLIENT_SIGNER
from tests.support import signing_requests
from tests.support.signing_requests import P256, Key

USAGES: Final = ("digital signature", "key encipherment", "client auth")
PATIENCE: Final = 20.0


def honest(cluster: str, **more: Any) -> bytes:
    """What the registration agent of a cluster asks for, PEM; `more` goes to `signing_requests.pem`."""
    return signing_requests.pem(subjects.agent_user(cluster), subjects.agent_groups(cluster), **more)


@frozen
class Certificates:
    """The requests on one hub."""

    hub: Cluster

    def registration_agent(self, cluster: str) -> Path:
        """The kubeconfig of OCM's own agent of that cluster."""
        group = subjects.cluster_group(cluster)
        return self.hub.kubeconfig_for(
            f"{group}:agent1", (group, "system:open-cluster-management:managed-clusters")
        )

    def ask(
        self,
        who: Path,
        cluster: str,
        pem: bytes,
        *,
        addon: str = "managed-serviceaccount",
        **spec: Any,
    ) -> str:
        """Makes one as the holder of that kubeconfig; its name, or what the server says against it."""
        body = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {
                "generateName": f"addon-{cluster}-managed-serviceaccount-",
                "labels": {LABEL_CLUSTER: cluster, LABEL_ADDON: addon},
            },
            "spec": {
                "request": b64encode(pem).decode(),
                "signerName": CLIENT_SIGNER,
                "usages": list(USAGES),
                **spec,
            },
        }
        command = ["create", f"--kubeconfig={who}", "-o", "jsonpath={.metadata.name}", "-f", "-"]
        return self.hub.kubectl(*command, stdin=json.dumps(body), check=False)

    def get(self, name: str) -> Any:
        return json.loads(self.hub.kubectl("get", "csr", name, "-o", "json"))

    def decided(self, name: str) -> list[str]:
        """The types of its conditions."""
        return [item["type"] for item in self.get(name)["status"].get("conditions", ())]

    def certificate(self, name: str) -> bytes:
        """PEM, once it is there."""
        assert wait_until(lambda: "certificate" in self.get(name)["status"], PATIENCE), self.get(name)
        return b64decode(self.get(name)["status"]["certificate"])

    def events(self, name: str) -> list[Any]:
        """About it."""
        text = self.hub.kubectl(
            *("get", "events", "-n", "default", "-o", "json"), f"--field-selector=involvedObject.name={name}"
        )
        found: list[Any] = json.loads(text)["items"]
        return found

    def reasons(self, name: str) -> list[str]:
        """Of the Events about it."""
        return [event["reason"] for event in self.events(name)]

    def described(self, name: str) -> str:
        """What people see of it."""
        return self.hub.kubectl("describe", "csr", name)

    def wait_event(self, name: str, reason: str) -> None:
        """An Event with that reason, and none with another."""
        assert wait_until(lambda: self.reasons(name) != [], PATIENCE), self.get(name)
        assert self.reasons(name) == [reason]

    def kubeconfig(self, name: str, file: Path, key: Key = P256) -> Path:
        """Written for the holder of the request's certificate and key."""
        config = yaml.safe_load(self.hub.kubeconfig.read_text())
        config["users"][0]["user"] = {
            "client-certificate-data": b64encode(self.certificate(name)).decode(),
            "client-key-data": b64encode(_private(key)).decode(),
        }
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config))
        return file

    def whoami(self, kubeconfig: Path) -> Any:
        """Whom the hub takes its holder for."""
        command = ["auth", "whoami", f"--kubeconfig={kubeconfig}", "-o", "json"]
        return json.loads(self.hub.kubectl(*command))["status"]["userInfo"]


def _private(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
