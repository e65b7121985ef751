"""The name under which this process stands for the lead.

A container that is restarted in its pod keeps its name, so it takes its own Lease at once instead of waiting until that expires. Two
processes that both run never share a name: the pod's UID is unique, also where pods have their node's host name, and within a pod the
kernel gives the name away once, for as long as the process lives that has it.
"""

import base64
import socket
from pathlib import Path
from uuid import uuid4

import msgspec

_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_SEGMENTS = 3


class _Pod(msgspec.Struct):
    uid: str = ""


class _Bound(msgspec.Struct):
    pod: _Pod = msgspec.field(default_factory=_Pod)


class _Claims(msgspec.Struct, rename={"bound": "kubernetes.io"}):
    """Of a pod's token: to what it is bound."""

    bound: _Bound = msgspec.field(default_factory=_Bound)


def candidate(lease: str) -> str:
    """A name for the election over this Lease; another one each time, but for the first process in a pod that asks."""
    uid = _pod_uid()
    own = uid if uid and _claimed(f"msa/{lease}/{uid}") else uuid4().hex
    return f"{socket.gethostname()}_{own}"


def _pod_uid() -> str:
    """Of the pod that this process runs in, as its token says; "" outside of a pod, or where its token is not mounted."""
    try:
        segments = _TOKEN.read_text(encoding="ascii").split(".")
        payload = base64.urlsafe_b64decode(segments[1] + "==") if len(segments) == _SEGMENTS else b"{}"
        return msgspec.json.decode(payload, type=_Claims).bound.pod.uid
    except (OSError, ValueError, msgspec.MsgspecError):
        return ""


def _claimed(name: str) -> bool:
    """Whether no other process of the pod has it. The kernel frees it with the end of this process, and not before."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind("\0" + name)  # an abstract address: of the network namespace, which a pod has one of
    except OSError:
        claim.close()
        return False
    claim.detach()
    return True
