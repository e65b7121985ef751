"""The RoleBinding by which an agent has its rights on the hub: what it binds, and when one of another manager is replaced. Pure."""

from datetime import datetime
from typing import Final

from msa.api import names, rbac
from msa.api.rbac import RoleBinding, RoleRef

AGENT_ROLE_REF: Final = RoleRef(rbac.GROUP, "ClusterRole", names.AGENT_ROLE)
"""The chart renders it: the manager may bind it and has none of its rights itself."""

_GO_ADDONS: Final = RoleRef(rbac.GROUP, "Role", names.AGENT_ROLE)
_SETTLE: Final = 30.0


def left_alone_for(stored: RoleBinding, now: datetime) -> float:
    """Seconds for which a binding of another role stays.

    A new binding of the Go addon's Role shows that its manager still runs, as it does for some seconds in an upgrade. Both managers
    would delete and create the binding in turns, and each time the agent has no rights for a moment. Both Roles suffice for an agent.
    """
    created = stored.metadata.creation_timestamp
    if stored.role_ref != _GO_ADDONS or created is None:
        return 0.0
    age = (now - created).total_seconds()
    return _SETTLE - age if 0 <= age < _SETTLE else 0.0
