"""Everything onto the hub that kubectl points at: `make install`, `make deploy IMG=...` and back.

python -m hack.deploy install              the CRD alone
python -m hack.deploy uninstall            deletes it, and with it all identities
python -m hack.deploy up IMAGE [SECONDS]   CRD, namespace, manager; then waits that long for the manager to be available
python -m hack.deploy down                 the manager and all of ours but the CRD, and Placement and binding `global`, which others may need

`uninstall` and `down` name the context that they work on and ask first; the environment variable YES=1 answers for you.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import field, frozen

from hack import binaries
from msa.api import names

_ROOT = Path(__file__).parents[1]
_DEFAULT = _ROOT / "manifests/default"
_CRD = _ROOT / "manifests/crd/bases"
_MANAGER = "managed-serviceaccount-addon-manager"
_PATIENCE = 180
_SHARED = ("ManagedClusterSetBinding", "Placement")
_NO_PROGRAM = re.compile(r"/msa\b.*(no such file|not found)")


class DeployError(Exception):
    """The message says what failed and what would help."""


def _kubectl() -> str:
    """People's own, else the one that the tests use."""
    places = binaries.Places.from_environment(os.environ)
    return shutil.which("kubectl") or str(binaries.provide(places, ("kubectl",))["kubectl"])


@frozen
class Deployer:
    """kubectl, and what is said on the way.

    Attributes:
        command: kubectl with the flags that say which hub.
    """

    command: tuple[str, ...] = field(factory=lambda: (_kubectl(),))

    def hub(self) -> str:
        """Which one kubectl points at. Raises DeployError."""
        path = "{.current-context}{' at '}{.clusters[0].cluster.server}"
        return self._run("config", "view", "--minify", "-o", f"jsonpath={path}").strip()

    def install(self) -> None:
        """Raises DeployError."""
        self._say("the CRD", "apply", "--server-side", "-f", str(_CRD))

    def uninstall(self) -> None:
        """Raises DeployError."""
        self._release()
        self._say("the CRD and all identities", "delete", "--ignore-not-found", "-f", str(_CRD))

    def _release(self) -> None:
        """Takes our finalizer off what is fanned out: all of it goes at once, and there may be no manager any more to let go."""
        kind = f"{names.PLURAL}.{names.GROUP}"
        if not self._run("get", "crd", kind, "--ignore-not-found", "-o", "name"):
            return
        for item in json.loads(self._run("get", kind, "-A", "-o", "json"))["items"]:
            metadata = item["metadata"]
            if names.FAN_OUT_FINALIZER in metadata.get("finalizers", ()):
                kept = [name for name in metadata["finalizers"] if name != names.FAN_OUT_FINALIZER]
                patch = json.dumps({"metadata": {"finalizers": kept}})
                self._run(
                    "patch", kind, metadata["name"], "-n", metadata["namespace"], "--type=merge", "-p", patch
                )

    def up(self, image: str, seconds: int = _PATIENCE) -> None:
        """Raises DeployError."""
        self.install()
        self._say(f"namespace {names.HUB_NAMESPACE}", "apply", "-f", "-", stdin=_namespace())
        self._say("rights, addon and manager", "apply", "-f", "-", stdin=self.rendered(image))
        self._wait(image, seconds)

    def down(self) -> None:
        """As helm uninstall: the addon first, and the Placement and binding `global` stay, since other addons may need them.

        Raises DeployError.
        """
        self._leave()
        kept = f"the CRD, the namespace, and {' and '.join(_SHARED)} global"
        objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": self._own()})
        self._say(f"all but {kept}", "delete", "--ignore-not-found", "-f", "-", stdin=objects)

    def _leave(self) -> None:
        """Its output says what it does; it fails for nothing that the hub answers."""
        print("delete the addon, and wait for the manager's report", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            kubeconfig = Path(folder) / "kubeconfig"
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(self._run("config", "view", "--minify", "--flatten", "--raw"))
            flags = (f"--kubeconfig={kubeconfig}", f"--namespace={names.HUB_NAMESPACE}")
            subprocess.run([sys.executable, "-m", "msa", "leave", *flags], check=False)

    def _own(self) -> list[dict[str, Any]]:
        rendered = yaml.safe_load_all(self._run("kustomize", str(_DEFAULT)))
        return [item for item in rendered if item["kind"] not in _SHARED]

    def rendered(self, image: str) -> str:
        """manifests/default with this image for the manager and for the agents that it deploys."""
        folder = _ROOT / "build/deploy"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kustomization.yaml").write_text(json.dumps(kustomization(image)))
        return self._run("kustomize", str(folder))

    def _wait(self, image: str, seconds: int) -> None:
        print(
            f"waiting up to {seconds} s for a pod of deployment/{_MANAGER} in {names.HUB_NAMESPACE} to pull {image}, to start "
            "and to be ready, which it is once its caches are filled",
            flush=True,
        )
        rollout = ["rollout", "status", f"deployment/{_MANAGER}", f"--timeout={seconds}s"]
        done = subprocess.run([*self.command, "-n", names.HUB_NAMESPACE, *rollout], check=False)
        if done.returncode != 0:
            raise DeployError(f"{_MANAGER} is not available after {seconds} s: {self._troubles()}")

    def _troubles(self) -> str:
        """What the pods themselves say."""
        listed = [
            "get",
            "pods",
            "-n",
            names.HUB_NAMESPACE,
            "-l",
            f"open-cluster-management.io/addon={names.ADDON}",
            "-o",
            "json",
        ]
        found = [trouble for pod in json.loads(self._run(*listed))["items"] for trouble in troubles(pod)]
        return "; ".join(found) or "it has no pod yet: kubectl describe its ReplicaSet"

    def _say(self, what: str, verb: str, *arguments: str, stdin: str | None = None) -> None:
        print(f"{verb} {what}", flush=True)
        print(self._run(verb, *arguments, stdin=stdin), end="", flush=True)

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        command = [*self.command, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DeployError(done.stderr.strip())
        return done.stdout


def kustomization(image: str) -> dict[str, Any]:
    """The default with another image, which is also the manager's argument for the agents."""
    name, separator, version = _split(image)
    chosen = {"@": {"digest": version}, ":": {"newTag": version}, "": {"newTag": "latest"}}[separator]
    manager: dict[str, Any] = {"kind": "Deployment", "name": _MANAGER}
    argument = {"select": manager, "fieldPaths": ["spec.template.spec.containers.[name=manager].args.1"]}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(_DEFAULT, _ROOT / "build/deploy")],
        "images": [{"name": names.IMAGE, "newName": name, **chosen}],
        "replacements": [
            {
                "source": {**manager, "fieldPath": "spec.template.spec.containers.[name=manager].image"},
                "targets": [{**argument, "options": {"delimiter": "=", "index": 1}}],
            }
        ],
    }


def _split(image: str) -> tuple[str, str, str]:
    """Name, separator and tag or digest, of both the digest; a colon before the last slash is a port."""
    if "@" in image:
        named, separator, digest = image.partition("@")
        return _tagged(named)[0], separator, digest
    name, tag = _tagged(image)
    return name, ":" if tag else "", tag


def _tagged(image: str) -> tuple[str, str]:
    folder, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{folder}{slash}{name}", tag


def troubles(pod: dict[str, Any]) -> list[str]:
    """Why a pod is not ready, in the API's own words."""
    status = pod.get("status", {})
    waiting = [state for container in status.get("containerStatuses", ()) for state in _stopped(container)]
    unmet = [condition for condition in status.get("conditions", ()) if condition["status"] != "True"]
    said = [f"{found.get('reason', '')} {found.get('message', '')}".strip() for found in waiting or unmet]
    if not status.get("conditions"):
        said.append("no node has taken it yet")
    texts = [text for text in dict.fromkeys(said) if text]
    if any(_NO_PROGRAM.search(text) for text in texts):
        texts.append(
            "the image has no /msa, so it is not this addon's: build one with make docker-build IMG=..."
        )
    return [f"pod {pod['metadata']['name']}: {text}" for text in texts]


def _stopped(container: dict[str, Any]) -> list[dict[str, Any]]:
    """Why it waits, and how it ended before."""
    found = (container.get("state", {}).get("waiting"), container.get("lastState", {}).get("terminated"))
    return [state for state in found if state]


def confirmed(what: str, hub: str, environment: Mapping[str, str], ask: Callable[[str], str] = input) -> bool:
    """Whether the user, or YES=1, wants that deleted from that hub."""
    print(f"This deletes {what}.\nThe hub is {hub}.", flush=True)
    if environment.get("YES") == "1":
        return True
    try:
        return ask("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        raise DeployError("standard input has no answer: set YES=1 to skip the question") from None


def _namespace() -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.HUB_NAMESPACE}})


def _ask_and(delete: Callable[[Deployer], None], what: str) -> int:
    deployer = Deployer()
    if not confirmed(what, deployer.hub(), os.environ):
        print("Nothing was changed.")
        return 1
    delete(deployer)
    return 0


def main(arguments: list[str]) -> int:
    match arguments:
        case ["install"]:
            Deployer().install()
        case ["uninstall"]:
            return _ask_and(
                Deployer.uninstall, "the CRD, and with it every ManagedServiceAccount and its token"
            )
        case ["up", image]:
            Deployer().up(image)
        case ["up", image, seconds]:
            Deployer().up(image, int(seconds))
        case ["down"]:
            return _ask_and(
                Deployer.down, "the manager and the addon; every cluster loses its agent and its tokens"
            )
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (DeployError, binaries.Unavailable) as error:
        sys.exit(f"deploy: {error}")
