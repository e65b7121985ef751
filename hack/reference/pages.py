"""The reference pages for users, docs/reference: read off the code that they are about, so that none can fall behind it."""

from pathlib import Path
from typing import Any

from hack.reference.conditions import conditions
from hack.reference.crd import crd
from hack.reference.events import events
from hack.reference.flags import flags
from hack.reference.metrics import metrics

PAGES = Path(__file__).parents[2] / "docs/reference"


def pages(definition: dict[str, Any]) -> dict[Path, str]:
    """The text of each page.

    Args:
        definition: the CustomResourceDefinition.
    """
    return {
        PAGES / "flags.md": flags(),
        PAGES / "metrics.md": metrics(),
        PAGES / "conditions.md": conditions(),
        PAGES / "events.md": events(),
        PAGES / "crd.md": crd(definition),
    }
