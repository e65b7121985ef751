"""Managed ServiceAccount: identities on managed clusters, their tokens fresh on the hub."""

__version__ = "0.1.0"

import os

__commit__ = os.environ.get("MSA_COMMIT") or "unknown"
"""That the image was built from."""
