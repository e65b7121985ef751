"""Secrets and ConfigMaps as files, swapped like the kubelet does: all at once, by one symlink."""

import os
import shutil
from pathlib import Path
from uuid import uuid4

from attrs import frozen

_DATA = "..data"


@frozen
class Volume:
    """A folder whose files are one object's data."""

    folder: Path

    def write(self, data: dict[str, bytes]) -> bool:
        """Puts these files in the place of those that are there; whether they are others."""
        if self._read() == data:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        made = self.folder / f"..{uuid4().hex}"
        made.mkdir(mode=0o700)
        for name, content in data.items():
            (made / name).write_bytes(content)
        before = self._current()
        self._link(_DATA, made.name)
        for name in data:
            self._link(name, f"{_DATA}/{name}")
        for gone in self.folder.iterdir():
            if not gone.name.startswith("..") and gone.name not in data:
                gone.unlink()
        if before is not None:
            shutil.rmtree(before)
        return True

    def _link(self, name: str, target: str) -> None:
        """By a rename, so that the name is never missing."""
        fresh = self.folder / f"..{uuid4().hex}"
        fresh.symlink_to(target)
        os.replace(fresh, self.folder / name)  # noqa: PTH105 - the system call that this is about

    def _current(self) -> Path | None:
        link = self.folder / _DATA
        return self.folder / link.readlink() if link.is_symlink() else None

    def _read(self) -> dict[str, bytes] | None:
        current = self._current()
        if current is None:
            return None
        return {file.name: file.read_bytes() for file in current.iterdir()}
