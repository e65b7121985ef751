"""The official client, `kubernetes`, with a token that is always fresh."""

from collections.abc import Callable
from pathlib import Path

from kubernetes.client import Configuration

from msa.api.token import Token
from msa.client.follower import Follower


def configuration(follower: Follower, token: Callable[[], Token], folder: Path) -> Configuration:
    """It asks `token` at each request, and reads the CAs at each new connection from a file in `folder`."""

    def refresh(target: Configuration) -> None:
        target.api_key["authorization"] = f"Bearer {token().reveal()}"

    made = Configuration(host=follower.credential().server, ssl_ca_cert=str(follower.ca_file(folder)))
    # A plain function: these libraries copy their configuration deeply.
    made.refresh_api_key_hook = refresh  # type: ignore[assignment]  # the library types it by its default, None
    refresh(made)
    return made
