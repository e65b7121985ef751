# Needs, in a clone of this repository: pip install . httpx
"""Asks a managed cluster every second who we are there. Run it as: with_httpx.py CLUSTER NAME."""

import logging
import sys

import anyio
import httpx

from msa.client import TokenSource

log = logging.getLogger("example")


async def main(cluster: str, name: str) -> None:
    async with (
        TokenSource() as source,
        httpx.AsyncClient(**await source.httpx(cluster, name)) as client,
    ):
        while True:
            answer = await client.post(
                "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                json={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
            )
            answer.raise_for_status()
            log.info("%s", answer.json()["status"]["userInfo"])
            await anyio.sleep(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    anyio.run(main, sys.argv[1], sys.argv[2])
