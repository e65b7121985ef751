# Needs, in a clone of this repository: pip install .
"""Asks a managed cluster every second who we are there. Run it as: with_kubernetes_asyncio.py CLUSTER NAME."""

import logging
import sys

import anyio
from kubernetes_asyncio import client

from msa.client import TokenSource

log = logging.getLogger("example")


async def main(cluster: str, name: str) -> None:
    async with (
        TokenSource() as source,
        client.ApiClient(await source.kubernetes_asyncio(cluster, name)) as api,
    ):
        reviews = client.AuthenticationV1Api(api)
        while True:
            review = await reviews.create_self_subject_review(client.V1SelfSubjectReview())
            log.info("%s", review.status)
            await anyio.sleep(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    anyio.run(main, sys.argv[1], sys.argv[2])
