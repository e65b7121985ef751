"""In processes of their own, as they end: a thread that nobody can cancel is at work in each of them."""

import signal
import subprocess
import sys
import time

import pytest

_PROGRAM = """
import asyncio, os, signal, socket, sys, time
import anyio
from prometheus_client import CollectorRegistry
from msa.cli import logs
from msa.cli.execute import execute
from msa.kube.credentials import CredentialError
from msa.runtime.metrics import Metrics
from msa.runtime.supervisor import Addresses, Ended, StartError, Supervisor

socket.getaddrinfo = lambda *_: time.sleep(60)
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored

async def look_up():
    await asyncio.get_running_loop().getaddrinfo("hub.example", 443)

async def stopped_by(number):
    async def prepare():
        asyncio.get_running_loop().call_soon(signal.raise_signal, number)
        await look_up()

    await Supervisor(
        metrics=Metrics(CollectorRegistry()), addresses=Addresses("", ""), informers=(), controllers=(),
        always={}, leading={}, elector=None, prepare=prepare,
    ).run()

async def run():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look_up)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        try:
            await end()
        finally:
            tasks.cancel_scope.cancel()

async def end():
    THE_END

execute("agent", run, logs.configure("info"))
"""


def _run(end: str) -> tuple[int, str, float]:
    """Exit code, what it said, and how long it took from the start of its end."""
    program = _PROGRAM.replace("THE_END", f"print(time.time(), flush=True); {end}")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    return done.returncode, done.stderr, time.time() - float(done.stdout.split()[0])


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        ("return", 0, ""),
        ('raise StartError("too old")', 1, "msa agent: too old\n"),
        ('raise CredentialError("no token")', 1, "msa agent: no token\n"),
        ('raise Ended("a watch came to its end")', 1, "msa agent: a watch came to its end\n"),
        (
            'raise StartError("sent eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2ln")',
            1,
            "msa agent: sent <token: masked>\n",
        ),
    ],
)
def test_a_program_ends_at_once_with_its_code_and_one_line_whatever_a_thread_still_does(
    end: str, code: int, says: str
) -> None:
    ended, said, seconds = _run(end)
    assert (ended, said) == (code, says)
    assert seconds < 5


def test_a_bug_is_logged_with_its_trace() -> None:
    code, said, seconds = _run('raise KeyError("bug")')
    assert code == 1
    assert '"event":"crashed"' in said
    assert seconds < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_preparation_ends_the_program_in_good_order(number: signal.Signals) -> None:
    code, said, seconds = _run(f"await stopped_by({number})")
    assert code == 0, said
    assert "stopping" in said
    assert seconds < 5


def test_an_interrupt_before_anybody_listens_has_the_code_that_shells_expect() -> None:
    code, said, seconds = _run("signal.raise_signal(signal.SIGINT); await anyio.sleep(30)")
    assert (code, said) == (130, "")
    assert seconds < 5
