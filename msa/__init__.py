"""Managed ServiceAccount: identities on managed clusters, their tokens fresh on the hub."""

__version__ = "0.1.0"
