"""The helm chart: rendered in every mode, and installed.

python -m hack.charts           write what is made from the chart: the kustomize bases, and the golden renders of the tests
python -m hack.charts --check   fail if the chart renders anything else

What a mode renders stands in a kustomize base, in full; what a gate or a value changes in it stands in a golden file, as a diff.
"""

import difflib
import itertools
import subprocess
import sys
from pathlib import Path

from attrs import frozen

from hack import binaries
from hack.generate import CHART
from hack.kubectl import Kubectl
from msa.api import names

_ROOT = Path(__file__).parents[1]
GOLDEN = _ROOT / "tests/golden/chart"
BASES = {
    "Deployment": _ROOT / "manifests/default/hub.yaml",
    "AddOnTemplate": _ROOT / "manifests/overlays/addontemplate/hub.yaml",
}
_HEADER = "# Made by `make manifests` from manifests/charts/managed-serviceaccount. Do not edit.\n"
_POLICY_SERVED = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"
_GATES = ("ephemeralIdentity", "clusterProfile")


class HelmError(Exception):
    """helm failed; the message is what it said."""


@frozen
class Release:
    """The chart on a hub, as the users' command installs it.

    Attributes:
        chart: its folder.
    """

    hub: Kubectl
    chart: Path = CHART
    name: str = names.ADDON
    namespace: str = names.HUB_NAMESPACE

    def install(self, *flags: str) -> str:
        return self._helm("install", "--create-namespace", self.name, str(self.chart), *flags)

    def upgrade(self, *flags: str) -> str:
        return self._helm("upgrade", self.name, str(self.chart), *flags)

    def rollback(self) -> str:
        """To what was installed before."""
        return self._helm("rollback", self.name)

    def exists(self) -> bool:
        return bool(self._helm("list", "--short", f"--filter=^{self.name}$").strip())

    def uninstall(self, *flags: str) -> None:
        self._helm("uninstall", self.name, "--wait", *flags)

    def hooks(self) -> str:
        """What helm has stored to run when it uninstalls."""
        return self._helm("get", "hooks", self.name)

    def _helm(self, verb: str, *arguments: str) -> str:
        return helm(verb, "-n", self.namespace, f"--kubeconfig={self.hub.kubeconfig}", *arguments)


def helm(*arguments: str) -> str:
    """What helm prints. Raises HelmError."""
    done = subprocess.run([binaries.helm(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HelmError(done.stderr.strip())
    return done.stdout


def render(*flags: str, served: tuple[str, ...] = (_POLICY_SERVED,), hooks: bool = False) -> str:
    """The chart's objects as YAML, for a hub that serves these kinds, too; with `hooks` also what helm creates to uninstall."""
    apis = [f"--api-versions={kind}" for kind in served]
    command = ("template", names.ADDON, str(CHART), "-n", names.HUB_NAMESPACE)
    return helm(*command, *([] if hooks else ["--no-hooks"]), *apis, *flags)


def wanted() -> dict[Path, str]:
    """Every file that is made from the chart, and what is in it."""
    bases = {mode: render(f"--set=hubDeployMode={mode}") for mode in BASES}
    files = {path: _HEADER + bases[mode] for mode, path in BASES.items()}
    for mode, base in bases.items():
        for name, flags in _variants().items():
            rendered = render(f"--set=hubDeployMode={mode}", *flags)
            files[GOLDEN / mode / f"{name}.diff"] = _difference(base, rendered)
    return files


def _variants() -> dict[str, list[str]]:
    """All combinations of the gates, and each other value that changes what is rendered."""
    values = {
        "all-values": [
            *("image=registry.example.com/msa", "tag=v2", "replicas=3", "agentInstallAll=false"),
            *(
                "targetCluster=cluster1",
                "addOnTemplateName=mine",
                "agentImagePullSecret=pull",
                "prometheus.enabled=true",
                "prometheus.alerts=true",
            ),
            *("prometheus.serviceMonitor.labels.release=prometheus", "admissionPolicy.enabled=false"),
            "networkPolicy.enabled=true",
        ]
    }
    for chosen in itertools.product((False, True), repeat=len(_GATES)):
        on = [gate for gate, switch in zip(_GATES, chosen, strict=True) if switch]
        if on:
            values["-".join(on)] = [f"featureGates.{gate}=true" for gate in on]
    return {name: [f"--set={value}" for value in pairs] for name, pairs in values.items()}


def _difference(base: str, rendered: str) -> str:
    lines = difflib.unified_diff(
        base.splitlines(), rendered.splitlines(), "the mode's defaults", "with these values", n=2, lineterm=""
    )
    return "".join(f"{line}\n" for line in lines)


def main(arguments: list[str]) -> int:
    files = wanted()
    if arguments == ["--check"]:
        stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
        for path in stale:
            print(f"{path.relative_to(_ROOT)} is not what the chart renders: make manifests", file=sys.stderr)
        return 1 if stale else 0
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
