"""Tokens for managed clusters, always fresh, for programs on the hub: docs/client.md.

async with TokenSource() as source:
    async with httpx.AsyncClient(**await source.httpx("cluster1", "deployer")) as cluster:
        ...
"""

from msa.client.credential import ClusterCredential, Identity
from msa.client.errors import TokenError
from msa.client.source import TokenSource
from msa.client.sync import SyncTokenSource

__all__ = ["ClusterCredential", "Identity", "SyncTokenSource", "TokenError", "TokenSource"]
