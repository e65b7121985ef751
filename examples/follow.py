# Needs, in a clone of this repository: pip install .
"""Tells of every new token of one ManagedServiceAccount. Run it as: follow.py CLUSTER NAME."""

import logging
import sys

import anyio

from msa.client import TokenSource

log = logging.getLogger("example")


async def main(cluster: str, name: str) -> None:
    async with TokenSource() as source:
        async for credential in source.follow(cluster, name):
            if credential is None:
                log.info("no usable token any more: stop using the last one")
            else:
                log.info("a token for %s until %s", credential.server, credential.expires_at)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    anyio.run(main, sys.argv[1], sys.argv[2])
