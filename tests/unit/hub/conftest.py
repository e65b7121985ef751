from collections.abc import Callable
from datetime import datetime

import pytest

from tests.support.fleet import Fleet, addon, cluster, fleet_addon


@pytest.fixture
def fleet(now: Callable[[], datetime]) -> Fleet:
    """A hub where OCM has just made the addon on a cluster."""
    fleet = Fleet(now)
    fleet.put(cluster(), addon(), fleet_addon())
    return fleet
