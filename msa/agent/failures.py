"""What a refusal of either API server means for an identity: reason, remedy, and whether to try again."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from attrs import frozen

from msa.api import names
from msa.api.core import Credential
from msa.policy.ownership import Refusal
from msa.policy.status import Trouble
from msa.runtime.errors import (
    ApiError,
    CertificateExpired,
    Conflict,
    Fenced,
    Forbidden,
    Invalid,
    NotFound,
    Throttled,
    Unauthorized,
    Untrusted,
)

REFUSED_SECONDS = 60.0
"""How often something that is not ours is looked at again: it may go without telling us."""


class Side(Enum):
    """Who was asked; the value is what the user calls it, in the middle of a sentence."""

    HUB = "the hub"
    MANAGED = "the managed cluster"


@frozen
class _Step:
    side: Side
    refused: str
    remedy: str


class Asking(Enum):
    """What was asked of whom."""

    ACCOUNT = _Step(
        Side.MANAGED,
        "ServiceAccountRefused",
        "see the admission policies and webhooks of its install namespace",
    )
    TOKEN = _Step(Side.MANAGED, "TokenRequestRefused", "check spec.audiences and spec.rotation")
    SECRET = _Step(Side.HUB, "SecretRefused", "see the admission policies and webhooks of this namespace")


class Stopped(Exception):
    """Work on an identity ended early.

    Attributes:
        trouble: what to report.
        side: whose API server failed; None where it was none of them.
        patience: seconds until the next attempt; None for the backoff of failures.
        refused: it was our decision, not a failure.
        retry_after: seconds that a server asked to wait at least.
        stored: the Secret as it is by now, where work ended after it was written.
        passing: what failed often works again within seconds, without anybody doing anything.
    """

    def __init__(
        self,
        trouble: Trouble,
        *,
        side: Side | None = None,
        patience: float | None = None,
        refused: bool = False,
        retry_after: float = 0.0,
        stored: Credential | None = None,
        passing: bool = False,
    ) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble
        self.side = side
        self.patience = patience
        self.refused = refused
        self.retry_after = retry_after
        self.stored = stored
        self.passing = passing


class Unsettled(Exception):
    """Somebody else is altering the Secret: it is looked at again in a moment, and nothing is reported until then."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def refuse(refusal: Refusal) -> Stopped:
    return Stopped(Trouble(refusal.reason, refusal.message), patience=REFUSED_SECONDS, refused=True)


@contextmanager
def asking(what: Asking) -> Iterator[None]:
    """Turns errors that the user must hear of into `Stopped`.

    Those pass that are over with the next look: somebody else wrote first, what we meant to change on the hub is gone, or this
    replica leads no more.
    """
    try:
        yield
    except (Conflict, Fenced):
        raise
    except ApiError as error:
        step = what.value
        if step.side is Side.HUB and isinstance(error, NotFound):
            raise
        wait = getattr(error, "retry_after", None) or 0.0
        passing = not isinstance(error, Invalid)
        raise Stopped(_trouble(step, error), side=step.side, retry_after=wait, passing=passing) from error


def _trouble(step: _Step, error: ApiError) -> Trouble:
    on, who = ("Hub" if step.side is Side.HUB else "ManagedCluster"), step.side.value
    match error:
        case Invalid():
            return Trouble(step.refused, f"{who} refuses the request: {error.message}: {step.remedy}")
        case Forbidden():
            role = f"the RoleBinding {names.AGENT_ROLE} in this namespace, and quotas"
            check = (
                role
                if step.side is Side.HUB
                else "the Role of the addon's agent in its install namespace, and admission policies"
            )
            return Trouble(f"ForbiddenOn{on}", f"{who} refuses the agent: {error.message}: check {check}")
        case CertificateExpired():
            return Trouble(
                f"UnauthorizedOn{on}",
                f"{who} rejects the agent's credential (401): {error.message}. Find out what should have renewed it",
            )
        case Unauthorized():
            return Trouble(
                f"UnauthorizedOn{on}",
                f"{who} rejects the agent's credential (401). Check whether its certificate or token has expired, and what renews it",
            )
        case Throttled():
            return Trouble(
                f"{on}Busy",
                f"{who} is throttling requests (429): its API server is overloaded, or its flow control limits the agent",
            )
        case Untrusted():
            return Trouble(
                f"{on}Unreachable",
                f"{who} is unreachable: {error.message}. The current token stays in place",
            )
        case NotFound():
            return Trouble(
                "ManagedClusterNotReady",
                f"{error.message}. Check that the agent's install namespace exists on the managed cluster",
            )
        case _:
            return Trouble(
                f"{on}Unreachable",
                f"{who} is unreachable ({error.reason}); the current token stays in place",
            )
