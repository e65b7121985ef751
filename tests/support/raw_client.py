"""An API server asked request by request, as a holder of a client certificate: every verb as RBAC knows it, and the answer's own word."""

import json
import ssl
import urllib.error
import urllib.request
from base64 import b64decode
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

_METHODS = {
    **dict.fromkeys(("get", "list", "watch"), "GET"),
    **dict.fromkeys(("delete", "deletecollection"), "DELETE"),
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
}
_OF_COLLECTIONS = ("list", "watch", "create", "deletecollection")


@frozen
class Answer:
    code: int
    text: str

    @property
    def allowed(self) -> bool:
        return self.code < 300


@frozen
class RawClient:
    """Nothing between a test and the server.

    Attributes:
        server: its address.
        context: with the holder's certificate.
    """

    server: str
    context: ssl.SSLContext

    @classmethod
    def of(cls, kubeconfig: Path, folder: Path) -> "RawClient":
        """The files that `ssl` wants are written into the folder."""
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        files = {
            "ca": cluster["certificate-authority-data"],
            "crt": user["client-certificate-data"],
            "key": user["client-key-data"],
        }
        paths = {name: folder / f"{kubeconfig.name}.{name}" for name in files}
        for name, data in files.items():
            paths[name].touch(mode=0o600)
            paths[name].write_bytes(b64decode(data))
        context = ssl.create_default_context(cafile=str(paths["ca"]))
        context.load_cert_chain(paths["crt"], paths["key"])
        return cls(cluster["server"], context)

    def ask(self, verb: str, collection: str, body: dict[str, Any], *, subresource: str = "") -> Answer:
        """Does that with the object, or with the collection.

        Args:
            verb: as in RBAC.
            collection: its path.
            body: the object; of one that is there its name is enough.
            subresource: of the object.
        """
        path = collection if verb in _OF_COLLECTIONS else f"{collection}/{body['metadata']['name']}"
        if subresource:
            path += f"/{subresource}"
        if verb == "watch":
            path += "?watch=1&timeoutSeconds=1"
        return self.send(_METHODS[verb], path, body if verb in ("create", "update", "patch") else None)

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(  # noqa: S310 - our own API server
            self.server + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": content},
        )
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=10) as answer:  # noqa: S310 - our own API server
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())
