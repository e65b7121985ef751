"""Long-running child processes that are known by a file: started, found again, stopped, and never mistaken for others."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

_PR_SET_PDEATHSIG = 1
_CHILDREN: dict[int, "subprocess.Popen[bytes]"] = {}
"""Those that this very process started: only their parent can reap them."""


@frozen
class Process:
    """A process and its file NAME.pid, which holds its id and start time; ids are reused, start times are not."""

    name: str
    folder: Path

    @property
    def _file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self, arguments: list[str], *, die_with_parent: bool = False) -> None:
        """Starts it in a session of its own, its output in NAME.log.

        Args:
            arguments: the command line.
            die_with_parent: the kernel ends it when this process ends, however that happens (Linux).
        """
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent if die_with_parent else None,  # noqa: PLW1509 - one system call, no threads here
            )
        _CHILDREN[child.pid] = child
        self._file.write_text(f"{child.pid} {_start_time(child.pid)}")

    def pid(self) -> int | None:
        """Its id while it runs."""
        try:
            pid, started = self._file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if _start_time(int(pid)) == started and started else None

    def exit_code(self) -> int | None:
        """With which it ended; None while it runs, or if another process started it."""
        pid = self._file.read_text().partition(" ")[0]
        child = _CHILDREN.get(int(pid))
        return child.poll() if child is not None else None

    def send(self, number: int) -> None:
        if (pid := self.pid()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, patience: float = 10.0, *, number: int = signal.SIGTERM) -> None:
        """Ends it: asked first, then, out of patience (seconds), made to."""
        self.send(signal.SIGCONT)
        self.send(number)
        if not wait_until(lambda: self.pid() is None, patience):
            self.send(signal.SIGKILL)
            wait_until(lambda: self.pid() is None, patience)
        self._file.unlink(missing_ok=True)


def wait_until(holds: Callable[[], bool], seconds: float, interval: float = 0.05) -> bool:
    """Whether it came to hold in that time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


def _start_time(pid: int) -> str:
    """The kernel's start time of a process, "" when it is gone or only waits to be reaped."""
    if (child := _CHILDREN.get(pid)) is not None:
        child.poll()  # reaps it
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        threads = sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return ""
    # A zombie with threads left still holds its sockets: the last thread to end closes them.
    return "" if fields[0] == "Z" and threads == 1 else fields[19]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
