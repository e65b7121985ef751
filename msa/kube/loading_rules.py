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


def kubeconfigs(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The kubeconfigs that lead to the hub; none where the pod's own account does.

    Args:
        environment: the process's.
    """
    if listed := tuple(Path(path) for path in environment.get("KUBECONFIG", "").split(os.pathsep) if path):
        return listed
    return () if credentials.in_pod() else (Path(environment.get("HOME") or "/", ".kube/config"),)


def find(environment: Mapping[str, str], *, asked_by: str) -> Access:
    """The way to the hub.

    Args:
        environment: the process's.
        asked_by: the program; where it is what the kubeconfig wants asked, it would ask itself.

    Raises:
        CredentialError: there is none, or it cannot be used.
    """
    paths = kubeconfigs(environment)
    if not paths:
        return Access(credentials.of_pod("KUBECONFIG"), credentials.pod_namespace())
    remedy = "write the path of the hub's kubeconfig in KUBECONFIG"
    if not environment.get("KUBECONFIG"):
        remedy = f"this is no pod with a service account's token, either: {remedy}"
    return _of_files(paths, asked_by, remedy)


def _of_files(paths: tuple[Path, ...], asked_by: str, remedy: str) -> Access:
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
