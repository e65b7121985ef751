"""From the addon that ours replaces and back again, by `helm upgrade` and `helm rollback`, with both managers alive at once: it costs nothing.

By default once each way; SWITCHES, OVERLAP (seconds) and IDENTITIES make more of it: docs/testing.md says how.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hack.clusters import running
from hack.ocm.fleet import Fleet, Member
from tests.support.switching import Seen, Switch

_ROUNDS = int(os.environ.get("SWITCHES", "1"))
_OVERLAP = float(os.environ.get("OVERLAP", "6"))
_IDENTITIES = int(os.environ.get("IDENTITIES", "10"))

pytestmark = pytest.mark.timeout(300 + _ROUNDS * 200)


@pytest.fixture(scope="module")
def switch(home: Path) -> Iterator[Switch]:
    with running("switch-hub", home) as hub, running("switch-managed", home) as managed:
        fleet = Fleet(hub)
        fleet.install_ocm()
        fleet.start()
        switch = Switch(fleet, Member(fleet, managed, "switching"), _OVERLAP)
        try:
            switch.install(_IDENTITIES)
            yield switch
        finally:
            switch.stop()
            fleet.stop()


def _assert_free_of_charge(seen: Seen) -> None:
    assert seen.deleted == []
    assert seen.minted == []
    assert seen.used > 0
    assert seen.refused == []
    assert "False" not in seen.available
    assert "False" not in seen.registered
    assert "Repaired" not in seen.events


@pytest.mark.parametrize("turn", range(_ROUNDS))
def test_to_ours_and_back_no_account_is_deleted_no_token_is_minted_and_no_use_is_refused(
    switch: Switch, turn: int, record_property: Callable[[str, object], None]
) -> None:
    for way in (switch.forth, switch.back):
        seen = way()
        record_property(f"{way.__name__} {turn}", f"{seen.used} uses, {len(seen.refused)} refused")
        _assert_free_of_charge(seen)
