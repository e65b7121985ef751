"""`cp-creds`: the credential plugin that consumers' kubeconfigs call. It is started anew for each of their calls, so it imports little."""

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from typing import Final, NoReturn

from msa.api import names
from msa.kube import loading_rules, one_request
from msa.kube.credentials import CredentialError
from msa.policy import exec_credential
from msa.policy.exec_credential import Request, Unanswerable
from msa.runtime.errors import ApiError, Forbidden, Network, NotFound, Unauthorized

_NAME: Final = "cp-creds"
_INTERRUPTED: Final = 130
_TERMINATED: Final = 143
_HELP: Final = """\
Gives kubectl, Argo CD, Kueue and other clients of managed clusters the token of a ManagedServiceAccount.

A kubeconfig calls it as its credential plugin. It reads Secret CLUSTER-NAME on the hub, the copy of the credential
that the label sync-to-clusterprofile makes, and answers with the token that is in it now."""
_EXAMPLE: Final = """\
example, a kubeconfig for managed cluster cluster1 and ManagedServiceAccount argocd:
  apiVersion: v1
  kind: Config
  current-context: cluster1
  contexts:
  - name: cluster1
    context: {cluster: cluster1, user: argocd}
  clusters:
  - name: cluster1
    cluster:
      server: https://cluster1.example:6443
      certificate-authority-data: ...
      extensions:
      - name: client.authentication.k8s.io/exec
        extension: {clusterName: cluster1}
  users:
  - name: argocd
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1
        command: cp-creds
        args: [--managed-serviceaccount=argocd]
        provideClusterInfo: true
        interactiveMode: Never
        env: [{name: KUBECONFIG, value: /path/to/hub.kubeconfig}]   # not needed in a pod on the hub

environment:
  KUBERNETES_EXEC_INFO  what the client asks for; clients set it
  NAMESPACE             where the Secret is; else the pod's namespace, else that of the kubeconfig's context, else default
  KUBECONFIG            how to reach the hub; else the pod's service account, else ~/.kube/config

The account that reaches the hub needs the right to get that Secret.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Unanswerable(f"{message} (see {_NAME} --help)")


def main(arguments: list[str] | None = None) -> None:
    """Prints an ExecCredential in one line; whatever stands in its way is one line on stderr, and exit code 1."""
    terminated = False

    def terminate(*_: object) -> None:
        """Ends by the way of an interrupt, which asyncio heeds while it starts a process: a plugin that leads to the hub ends, too."""
        nonlocal terminated
        terminated = True
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, terminate)
    try:
        print(_answer(_account(arguments), os.environ), flush=True)  # noqa: T201 - for the client that started it
    except (Unanswerable, CredentialError, OSError) as error:
        print(f"{_NAME}: {_one_line(str(error))}", file=sys.stderr)  # noqa: T201 - the client shows it
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_TERMINATED if terminated else _INTERRUPTED)


def _account(arguments: list[str] | None) -> str:
    parser = _Parser(
        prog=_NAME,
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--managed-serviceaccount",
        metavar="NAME",
        default="",
        help="the ManagedServiceAccount whose token it is",
    )
    account: str = parser.parse_args(arguments).managed_serviceaccount
    if not account:
        parser.error("--managed-serviceaccount flag is required")
    return account


def _answer(account: str, environment: Mapping[str, str]) -> str:
    request = exec_credential.requested(environment.get("KUBERNETES_EXEC_INFO", ""))
    name = exec_credential.secret_name(request.cluster, account)
    access = loading_rules.find(environment, asked_by=_NAME)
    namespace = exec_credential.namespace(environment.get("NAMESPACE") or access.namespace or "default")
    try:
        body = one_request.get(access.credential, f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return exec_credential.answer(request, body)
    except (ApiError, Unanswerable) as error:
        problem = _told(error, request, account, namespace) if isinstance(error, ApiError) else str(error)
        raise Unanswerable(f"failed to get synced credential secret {namespace}/{name}: {problem}") from None


def _told(error: ApiError, request: Request, account: str, namespace: str) -> str:
    """What went wrong, and what would help."""
    match error:
        case NotFound():
            return (
                f"the hub has none: label ManagedServiceAccount {request.cluster}/{account} with"
                f" {names.LABEL_SYNC_TO_PROFILE}=true and have a ClusterProfile of {request.cluster} in namespace {namespace},"
                " or name another namespace in NAMESPACE"
            )
        case Unauthorized():
            return f"the hub does not know us (401): {error.message}: renew the token or certificate of the kubeconfig or pod that leads to it"
        case Forbidden():
            return f"{error.message or 'forbidden (403)'}: give that account a Role there to get this Secret"
        case Network():
            return f"the hub cannot be reached: {error.message}: see its address, proxy and CA"
        case _:
            return f"the hub answered {error.code} {error.message}: see how the hub is, and try again"


def _one_line(text: str) -> str:
    """A server's words may hold anything."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
