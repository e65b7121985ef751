# Needs, in a clone of this repository: pip install . httpx
"""Asks every cluster that has a ManagedServiceAccount with these labels for its version. Run it as: fleet.py LABELS."""

import logging
import sys

import anyio
import httpx

from msa.client import Identity, TokenError, TokenSource

log = logging.getLogger("example")


async def ask(source: TokenSource, identity: Identity) -> None:
    try:
        credential = await source.get(identity.cluster, identity.name)
        async with httpx.AsyncClient(verify=credential.ssl_context(), headers=credential.headers()) as client:
            answer = await client.get(f"{credential.server}/version")
            log.info("%s runs %s", identity.cluster, answer.raise_for_status().json()["gitVersion"])
    except (TokenError, httpx.HTTPError) as error:
        log.info("%s does not tell: %s", identity.cluster, error)


async def main(labels: str) -> None:
    async with TokenSource() as source, anyio.create_task_group() as asking:
        for identity in await source.find(labels):
            asking.start_soon(ask, source, identity)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    anyio.run(main, sys.argv[1])
