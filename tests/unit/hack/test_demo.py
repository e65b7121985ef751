"""The demo keeps to itself."""

from pathlib import Path

import pytest

from hack import demo_stage
from hack.demo_stage import alone
from hack.demo_talk import DemoError


def test_a_second_demo_in_the_same_clone_is_refused_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_stage, "HOME", tmp_path / "clusters")
    with alone():
        with pytest.raises(DemoError, match=r"^another demo runs in this clone: stop it") as refused, alone():
            pass
        assert "\n" not in str(refused.value)
    with alone():
        pass
