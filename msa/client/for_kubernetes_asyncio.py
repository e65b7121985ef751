"""kubernetes_asyncio with a token that is always fresh."""

from collections.abc import Callable
from pathlib import Path

from kubernetes_asyncio.client import Configuration

from msa.api.token import Token
from msa.client.follower import Follower


def configuration(follower: Follower, token: Callable[[], Token], folder: Path) -> Configuration:
    """It asks `token` at each request; the CAs are read once for each ApiClient, from a file in `folder`."""

    def refresh(target: Configuration) -> None:
        target.api_key["BearerToken"] = f"Bearer {token().reveal()}"

    made = Configuration(host=follower.credential().server, ssl_ca_cert=str(follower.ca_file(folder)))
    made.disable_strict_ssl_verification = (
        True  # as Go does: many clusters' certificates lack a key identifier
    )
    made.refresh_api_key_hook = refresh  # a plain function: these libraries copy their configuration deeply
    refresh(made)
    return made
