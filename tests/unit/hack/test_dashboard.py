from itertools import combinations
from typing import Any

import pytest

from hack import dashboard

_PANELS = dashboard.dashboard()["panels"]


def test_panels_have_an_identity_each_and_lie_beside_one_another() -> None:
    assert len({panel["id"] for panel in _PANELS}) == len(_PANELS)
    for one, other in combinations(_PANELS, 2):
        assert not (_cells(one) & _cells(other)), (one["title"], other["title"])


def _cells(panel: Any) -> set[tuple[int, int]]:
    place = panel["gridPos"]
    assert place["x"] + place["w"] <= 24
    return {
        (place["x"] + column, place["y"] + line) for column in range(place["w"]) for line in range(place["h"])
    }


@pytest.mark.parametrize(
    "panel",
    [panel for panel in _PANELS if panel["type"] != "row"],
    ids=lambda panel: f"{panel['id']} {panel['title']}",
)
def test_a_panel_asks_the_chosen_data_source_about_the_chosen_clusters_and_says_what_to_look_for(
    panel: Any,
) -> None:
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    for asker in (panel, *panel["targets"]):
        assert asker["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert target["expr"].count("{") == target["expr"].count('cluster=~"$cluster"')
