"""What a refusal of either API server means for an identity: reason, remedy, and whether to try again."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from msa.policy.ownership import Refusal
from msa.policy.status import Trouble
from msa.runtime.errors import ApiError, Conflict, Forbidden, Invalid, NotFound

REFUSED_SECONDS = 60.0
"""How often something that is not ours is looked at again: it may go without telling us."""


class Stopped(Exception):
    """Work on an identity ended early.

    Attributes:
        trouble: what to report.
        patience: seconds until the next attempt; None for the backoff of failures.
        refused: it was our decision, not a failure.
        retry_after: seconds that a server asked to wait at least.
    """

    def __init__(
        self,
        trouble: Trouble,
        *,
        patience: float | None = None,
        refused: bool = False,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(trouble.message)
        self.retry_after = retry_after
        self.trouble = trouble
        self.patience = patience
        self.refused = refused


class Side(Enum):
    """Who was asked."""

    HUB = "hub"
    MANAGED = "managed"


def refuse(refusal: Refusal) -> Stopped:
    return Stopped(Trouble(refusal.reason, refusal.message), patience=REFUSED_SECONDS, refused=True)


@contextmanager
def asking(side: Side) -> Iterator[None]:
    """Turns errors that the user must hear of into `Stopped`; a conflict passes, since it is over with the next look."""
    try:
        yield
    except Conflict:
        raise
    except ApiError as error:
        wait = getattr(error, "retry_after", None) or 0.0
        raise Stopped(_trouble(side, error), retry_after=wait) from error


def _trouble(side: Side, error: ApiError) -> Trouble:
    match side, error:
        case Side.MANAGED, Forbidden():
            return Trouble(
                "ForbiddenOnManagedCluster",
                f"the managed cluster refuses the agent: {error.message}: check the Role of the addon's agent in its install namespace",
            )
        case Side.MANAGED, Invalid():
            return Trouble(
                "TokenRequestRefused",
                f"the managed cluster refuses the request: {error.message}: check spec.audiences and spec.rotation",
            )
        case Side.MANAGED, NotFound():
            return Trouble(
                "ManagedClusterNotReady",
                f"{error.message}: does the agent's install namespace still exist there?",
            )
        case Side.MANAGED, _:
            return Trouble(
                "ManagedClusterUnreachable",
                f"the managed cluster's API server does not answer as it should ({error.reason}): the current token stays in use",
            )
        case Side.HUB, Forbidden():
            return Trouble(
                "ForbiddenOnHub",
                f"the hub refuses the agent: {error.message}: check the Role managed-serviceaccount-addon-agent in this namespace, and quotas",
            )
        case Side.HUB, Invalid():
            return Trouble("SecretRefused", f"the hub refuses the Secret: {error.message}")
        case _:
            return Trouble(
                "HubUnreachable", f"the hub's API server does not answer as it should ({error.reason})"
            )
