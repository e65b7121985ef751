import os
import subprocess
import sys

import pytest

from msa.cli.main import main

_WAIT = "import sys, asyncio; from msa.cli import logs; exec(sys.argv.pop(1)); asyncio.run(run())"
_PROGRAM = """
async def run():
    logs.configure("info").listen()
    print("up", flush=True)
    await asyncio.sleep(60)
"""


def test_the_level_of_a_running_program_is_changed_and_changed_back() -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", _WAIT, _PROGRAM, "msa", "agent"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdout is not None
    assert program.stderr is not None
    try:
        assert program.stdout.readline() == "up\n"
        for level, told in (("debug", "debug"), ("default", "info")):
            with pytest.raises(SystemExit) as ended:
                main(["log-level", level, f"--pid={program.pid}"])
            assert ended.value.code == 0
            assert f'"to":"{told}"' in program.stderr.readline()
    finally:
        program.kill()
        program.communicate()


def test_another_program_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A signal that it does not know would end it."""
    with pytest.raises(SystemExit) as ended:
        main(["log-level", "debug", f"--pid={os.getpid()}"])
    assert ended.value.code == 1
    assert "is not msa manager or msa agent" in capsys.readouterr().err
