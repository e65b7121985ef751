"""Where a program that people and other programs call finds the hub: KUBECONFIG, else the pod it runs in, else ~/.kube/config."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from msa.kube import credentials
from msa.kube.credentials import Credential, CredentialError

if TYPE_CHECKING:
    from msa.kube.kubeconfig import Kubeconfig, Proof


@frozen
class Access:
    """A way to the hub.

    Attributes:
        namespace: of the pod, else of the kubeconfig's context; "" where neither has one.
    """

    credential: Credential
    namespace: str


def find(environment: Mapping[str, str], *, asked_by: str) -> Access:
    """The way to the hub.

    Args:
        environment: the process's.
        asked_by: the program; where it is what the kubeconfig wants asked, it would ask itself.

    Raises:
        CredentialError: there is none, or it cannot be used.
    """
    if listed := [Path(path) for path in environment.get("KUBECONFIG", "").split(os.pathsep) if path]:
        return _of_files(listed, asked_by, "write the path of the hub's kubeconfig in KUBECONFIG")
    if credentials.in_pod():
        return Access(credentials.of_pod("KUBECONFIG"), credentials.pod_namespace())
    at_home = Path(environment.get("HOME") or "/", ".kube/config")
    return _of_files(
        [at_home],
        asked_by,
        "this is no pod with a service account's token, either: write the path of the hub's kubeconfig in KUBECONFIG",
    )


def _of_files(paths: list[Path], asked_by: str, remedy: str) -> Access:
    from msa.kube.kubeconfig import Kubeconfig  # noqa: PLC0415 - PyYAML comes with it

    kubeconfig = Kubeconfig.read(paths, remedy=remedy)
    if Path(kubeconfig.program).name == asked_by:
        raise CredentialError(
            f"kubeconfig {kubeconfig.name}: its current context leads to a managed cluster by way of {asked_by}, not to the hub:"
            " write the path of the hub's kubeconfig in KUBECONFIG, among users[].user.exec.env"
        )
    proof = _answered(kubeconfig) if kubeconfig.must_ask else kubeconfig.written()
    return Access(kubeconfig.credential(proof), credentials.pod_namespace() or kubeconfig.namespace)


def _answered(kubeconfig: "Kubeconfig") -> "Proof":
    import asyncio  # noqa: PLC0415 - seldom needed

    return asyncio.run(kubeconfig.asked())
