"""What a work agent reports of a ManifestWork. Pure."""

from hack.ocm import feedback
from hack.ocm.api import Body, Object
from hack.ocm.conditions import condition, merged
from hack.ocm.manifests import Applied, identity


def work_status(work: Object, done: list[Applied]) -> Body:
    """The status, with the times of what has not changed."""
    generation = work.metadata.generation
    entries = work.status.get("resourceStatus", {}).get("manifests", ())
    before = {identity(entry["resourceMeta"]): entry["conditions"] for entry in entries}
    failed = any(item.problem for item in done)
    said = (
        condition(
            "Applied", "False", "AppliedManifestWorkFailed", "Failed to apply manifest work", generation
        )
        if failed
        else condition(
            "Applied", "True", "AppliedManifestWorkComplete", "Apply manifest work complete", generation
        )
    )
    reported = [_entry(item, work.spec, generation, before.get(identity(item.meta), [])) for item in done]
    return {
        "conditions": merged(work.status.get("conditions", []), [said]),
        "resourceStatus": {"manifests": reported},
    }


def _entry(done: Applied, work: Body, generation: int, before: list[Body]) -> Body:
    if done.problem:
        message = f"Failed to apply manifest: {done.problem}"
        said = [condition("Applied", "False", "AppliedManifestFailed", message, generation)]
        return {"resourceMeta": done.meta, "conditions": merged(before, said), "statusFeedback": {}}
    paths = _paths(work, done.meta)
    found, problems = feedback.values(done.object, paths)
    said = [
        condition("Applied", "True", "AppliedManifestComplete", "Apply manifest complete", generation),
        condition("Available", "True", "ResourceAvailable", "Resource is available"),
        _synced(problems, asked=bool(paths)),
    ]
    entry = {"resourceMeta": done.meta, "conditions": merged(before, said)}
    return entry | {"statusFeedback": {"values": found} if found else {}}


def _synced(problems: list[str], *, asked: bool) -> Body:
    if problems:
        message = f"Sync status feedback failed with error {'; '.join(problems)}"
        return condition("StatusFeedbackSynced", "False", "StatusFeedbackSyncFailed", message)
    reason = "StatusFeedbackSynced" if asked else "NoStatusFeedbackSynced"
    return condition("StatusFeedbackSynced", "True", reason)


def _paths(work: Body, meta: Body) -> list[Body]:
    return [
        path
        for config in work.get("manifestConfigs", ())
        if identity(config["resourceIdentifier"]) == identity(meta)
        for rule in config.get("feedbackRules", ())
        for path in rule.get("jsonPaths") or feedback.WELL_KNOWN.get(meta["kind"], ())
    ]
