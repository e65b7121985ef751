"""The reasons that the code gives, found in it: those that servers' answers lead to by asking the code, the others where they are written."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path

from attrs import field, frozen

from msa.agent import failures
from msa.agent.failures import Asking, Stopped, asking
from msa.api import conditions
from msa.api.fleet_identity import FleetIdentity
from msa.api.managedserviceaccount import ManagedServiceAccount, Spec, Status
from msa.api.meta import ObjectMeta
from msa.policy import addon_status, fanout_status, reach, readiness, registration, rotation, status
from msa.policy.fanout import Health, Verdict
from msa.policy.fanout_status import Spread
from msa.policy.reach import Unreached
from msa.runtime.errors import ApiError

_ROOT = Path(__file__).parents[2]
_CODE = _ROOT / "msa"


@frozen(order=True)
class Outcome:
    """A condition as the code may write it."""

    type: str
    status: str
    reason: str


@frozen
class _Call:
    module: str
    node: ast.Call
    callee: str = field(init=False)

    @callee.default
    def _unparse(self) -> str:
        return ast.unparse(self.node.func).removeprefix("self.")


def troubles() -> frozenset[str]:
    """Why an identity may not be Ready."""
    written = {
        _text(call, call.node.args[0])
        for callee in ("Trouble", "Refusal")
        for call in _calls(callee)
        if call.module != failures.__name__ and not _handed_on(call.node.args[0])
    }
    return frozenset(written | set(_answers()))


def identity_outcomes() -> frozenset[Outcome]:
    """What may stand in the status of a ManagedServiceAccount."""
    good = readiness.fresh(Status())
    found = {Outcome(good.type, good.status, good.reason)}
    ignored = conditions.find(_with_ignored_ttl().conditions, status.TTL_IGNORED)
    if ignored is None:
        raise AssertionError("a TTL that is not heeded is reported")
    found.add(Outcome(ignored.type, ignored.status, ignored.reason))
    for call in _calls("condition", status.__name__):
        given = {keyword.arg: keyword.value for keyword in call.node.keywords}
        holds = "True" if ast.literal_eval(given["holds"]) else "False"
        reasons = troubles() if _handed_on(given["reason"]) else (_text(call, given["reason"]),)
        found |= {Outcome(_text(call, call.node.args[0]), holds, reason) for reason in reasons}
    return frozenset(found)


def _with_ignored_ttl() -> Status:
    identity = ManagedServiceAccount(ObjectMeta(), Spec(ttl_seconds_after_creation=1))
    holding, now = status.Holding(None, None), datetime(2026, 1, 1, tzinfo=UTC)
    return status.wanted(identity, holding, None, None, now, ephemeral=False)


def manager_outcomes() -> frozenset[Outcome]:
    """What the manager writes into Ready of a ManagedServiceAccount where the agent cannot judge."""
    return frozenset(
        Outcome(readiness.READY, "Unknown" if reason == readiness.AGENT_UNAVAILABLE else "False", str(reason))
        for reason in readiness.MANAGER_REASONS
    )


def addon_outcomes() -> frozenset[Outcome]:
    """What may stand in the status of a ManagedClusterAddOn."""
    obstacles = [_text(call, call.node.args[0]) for call in _calls("Obstacle", registration.__name__)]
    found: set[Outcome] = set()
    for call in _calls("Condition", addon_status.__name__):
        type_, holds, reason = call.node.args[:3]
        reasons = obstacles if _handed_on(reason) else [_text(call, reason)]
        found |= {Outcome(_text(call, type_), _text(call, holds), reason) for reason in reasons}
    return frozenset(found)


def fan_out_outcomes() -> frozenset[Outcome]:
    """What may stand in the status of a ManagedServiceAccount that is fanned out, by asking the code how it tells each state."""
    nobody: frozenset[str] = frozenset()
    one = frozenset(("c1",))
    states: list[Spread | Unreached] = [
        *(Spread({"c1": Verdict(health)}, one, nobody, nobody) for health in Health),
        Spread({"c1": Verdict(Health.READY)}, one, one, one),
        Spread({}, nobody, nobody, nobody),
        *(reach.not_bound(""), reach.not_decided("", "", nobody), reach.unknown("")),
    ]
    origin, now = FleetIdentity(ObjectMeta()), datetime(2026, 1, 1, tzinfo=UTC)
    said = (item for found in states for item in fanout_status.wanted(origin, found, now).conditions)
    return frozenset(Outcome(item.type, item.status, item.reason) for item in said)


def renewals() -> frozenset[str]:
    """Why a Secret may be written again."""
    calls = [call.node.args[1] for call in _calls("observer.repaired")]
    written = {ast.literal_eval(reason) for reason in calls if not _handed_on(reason)}
    return frozenset(written | set(rotation.Reason))


def _answers() -> Iterator[str]:
    """What each kind of answer to each question means for an identity."""
    for question in Asking:
        for error in _kinds(ApiError):
            try:
                with asking(question):
                    raise error("")
            except Stopped as stopped:
                yield stopped.trouble.reason
            except ApiError:
                pass  # over with the next look: nobody is told


def _kinds(error: type[ApiError]) -> Iterator[type[ApiError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _kinds(kind)


def _calls(callee: str, within: str = "msa") -> Iterator[_Call]:
    """Where the code calls something of that name, or self's, in a module or a package."""
    for call in _all_calls():
        if call.callee == callee and f"{call.module}.".startswith(f"{within}."):
            yield call


@cache
def _all_calls() -> tuple[_Call, ...]:
    return tuple(
        _Call(".".join(path.relative_to(_ROOT).with_suffix("").parts), node)
        for path in sorted(_CODE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    )


def _handed_on(node: ast.expr) -> bool:
    """Whether it is somebody's `.reason`, which is found where that one is made."""
    return isinstance(node, ast.Attribute) and node.attr == "reason"


def _text(call: _Call, node: ast.expr) -> str:
    """A string of the code, written there or by name.

    Raises:
        ValueError: it is something else, which cannot be read without running it.
    """
    match node:
        case ast.Constant(value=value):
            pass
        case ast.Name(id=name):
            value = getattr(import_module(call.module), name, None)
        case _:
            value = None
    if isinstance(value, str):
        return value
    raise ValueError(
        f"{call.module}, line {node.lineno}: not a string or the name of one, so the reference cannot tell it"
    )
