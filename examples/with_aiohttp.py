# Needs, in a clone of this repository: pip install . aiohttp
"""Asks a managed cluster every second who we are there. Run it as: with_aiohttp.py CLUSTER NAME."""

import logging
import sys

import aiohttp
import anyio

from msa.client import TokenSource

log = logging.getLogger("example")


async def main(cluster: str, name: str) -> None:
    async with TokenSource() as source:
        fresh_headers = await source.headers(cluster, name)
        credential = await source.get(cluster, name)
        connector = aiohttp.TCPConnector(ssl=credential.ssl_context())
        async with aiohttp.ClientSession(credential.server, connector=connector) as session:
            while True:
                asked = session.post(
                    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                    json={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
                    headers=fresh_headers(),
                )
                async with asked as answer:
                    answer.raise_for_status()
                    log.info("%s", (await answer.json())["status"]["userInfo"])
                await anyio.sleep(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    anyio.run(main, sys.argv[1], sys.argv[2])
