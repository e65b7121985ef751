"""Who is who on the hub: the users and groups of OCM's agents, as the contract (section 6) spells them. Compared by equality only."""

from typing import Final

from msa.api import names

AGENT: Final = "addon-agent"

FLEET_GROUP: Final = f"system:open-cluster-management:addon:{names.ADDON}"
"""Of the addon's agents on all clusters."""

AUTHENTICATED: Final = "system:authenticated"


def agent_user(cluster: str) -> str:
    """Our agent on this cluster, registered by a CSR."""
    return f"system:open-cluster-management:cluster:{cluster}:addon:{names.ADDON}:agent:{AGENT}"


def agent_groups(cluster: str) -> tuple[str, str]:
    """The groups of our agent on this cluster."""
    return (f"system:open-cluster-management:cluster:{cluster}:addon:{names.ADDON}", FLEET_GROUP)


def token_user(cluster: str) -> str:
    """Our agent on this cluster, registered with the token driver: a ServiceAccount of the cluster's namespace on the hub."""
    return f"system:serviceaccount:{cluster}:{names.ADDON}-agent"


def asker(username: str) -> str:
    """Who is behind a user: of agents their cluster, so that several of them count as one; else the user."""
    match username.split(":"):
        case ["system", "open-cluster-management", "cluster", cluster, "addon", *_]:
            return cluster_group(cluster)
        case ["system", "open-cluster-management", cluster, _]:
            return cluster_group(cluster)
    return username


def cluster_group(cluster: str) -> str:
    """OCM's own agents of this cluster, which ask for our agent's certificate."""
    return f"system:open-cluster-management:{cluster}"
