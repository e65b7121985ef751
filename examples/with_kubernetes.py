# Needs, in a clone of this repository: pip install . kubernetes
"""Asks a managed cluster every second who we are there. Run it as: with_kubernetes.py CLUSTER NAME."""

import logging
import sys
import time

from kubernetes import client

from msa.client import SyncTokenSource

log = logging.getLogger("example")


def main(cluster: str, name: str) -> None:
    with SyncTokenSource() as source, client.ApiClient(source.kubernetes(cluster, name)) as api:
        reviews = client.AuthenticationV1Api(api)
        while True:
            review = reviews.create_self_subject_review(client.V1SelfSubjectReview())
            log.info("%s", review.status)
            time.sleep(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    main(*sys.argv[1:])
