"""The credential plugins of kubeconfigs: what they are told, how long they may take, and what is believed of what they print."""

import asyncio
import io
import json
import os
import sys
from base64 import b64encode
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msa.kube import exec_plugin
from msa.kube.exec_plugin import Answer, PluginError
from msa.kube.kubeconfig_types import Cluster, EnvVar, Exec, Extension

_V1 = "client.authentication.k8s.io/v1"
_CLUSTER = Cluster(server="https://hub:6443")


def _printed(**status: Any) -> str:
    return json.dumps({"apiVersion": _V1, "kind": "ExecCredential", "status": status})


def _script(folder: Path, text: str, **plugin: Any) -> Exec:
    file = folder / "plugin.sh"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return Exec(**{"command": str(file), "api_version": _V1, "interactive_mode": "Never", **plugin})


async def _run(plugin: Exec, folder: Path, cluster: Cluster = _CLUSTER, ca: bytes = b"") -> Answer:
    return await exec_plugin.run(plugin, cluster, ca, folder)


async def _refused(plugin: Exec, folder: Path) -> str:
    with pytest.raises(PluginError) as caught:
        await _run(plugin, folder)
    told = str(caught.value)
    assert told.startswith("users[].user.exec: program ")
    assert "\n" not in told
    return told


async def _info(folder: Path, cluster: Cluster, ca: bytes = b"", **plugin: Any) -> Any:
    """What the plugin is told."""
    text = f"printf %s \"$KUBERNETES_EXEC_INFO\" > {folder}/info; echo '{_printed(token='t')}'"
    await _run(_script(folder, text, **plugin), folder, cluster, ca)
    return json.loads((folder / "info").read_text())


async def test_a_plugin_that_wants_to_know_is_told_which_cluster_it_is_for(tmp_path: Path) -> None:
    config = {"clusterName": "c1", "deep": [None, {"a": 1}]}
    cluster = Cluster(
        server="https://hub:6443",
        tls_server_name="name",
        proxy_url="http://p:1",
        disable_compression=True,
        extensions=(Extension("other", 1), Extension("client.authentication.k8s.io/exec", config)),
    )
    assert await _info(tmp_path, cluster, b"CA", provide_cluster_info=True) == {
        "apiVersion": _V1,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://hub:6443",
                "tls-server-name": "name",
                "certificate-authority-data": b64encode(b"CA").decode(),
                "proxy-url": "http://p:1",
                "disable-compression": True,
                "config": config,
            },
        },
    }


async def test_a_plugin_that_does_not_want_to_know_is_not_told(tmp_path: Path) -> None:
    assert (await _info(tmp_path, _CLUSTER))["spec"] == {"interactive": False}


async def test_what_a_plugin_gives_is_taken(tmp_path: Path) -> None:
    status = {
        "token": "t",
        "clientCertificateData": "crt",
        "clientKeyData": "key",
        "expirationTimestamp": "2030-01-02T03:04:05.5+01:00",
    }
    found = await _run(_script(tmp_path, f"echo '{_printed(**status, more=1)}'"), tmp_path)
    assert found == Answer("t", b"crt", b"key", datetime(2030, 1, 2, 2, 4, 5, 500000, tzinfo=UTC))
    assert "key" not in repr(found)


async def test_a_plugin_has_the_variables_of_the_kubeconfig_before_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A", "ours")
    monkeypatch.setenv("B", "ours")
    answer = json.dumps(_printed(token="$A-$B-$1"))  # in quotes, as the shell takes it
    text = f"echo {answer}"
    plugin = _script(tmp_path, text, env=(EnvVar("A", "theirs"),), args=("x",))
    assert (await _run(plugin, tmp_path)).token == "theirs-ours-x"


async def test_a_command_with_a_slash_is_beside_the_kubeconfig_wherever_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = _script(tmp_path, f"echo '{_printed(token='t')}'", command="./plugin.sh")
    monkeypatch.chdir("/")
    assert (await _run(plugin, tmp_path)).token == "t"


async def test_a_command_without_a_slash_is_in_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = _script(tmp_path, f"echo '{_printed(token='t')}'", command="plugin.sh")
    assert "program plugin.sh is not in PATH" in await _refused(plugin, tmp_path)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{tmp_path}")
    assert (await _run(plugin, tmp_path)).token == "t"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("nowhere-at-all", "is not in PATH: install it where this process runs: \\e[31mapt install it"),
        ("./nowhere", "cannot be started: No such file or directory"),
        ("./folder", "cannot be started: Permission denied"),
        ("./nul\0", "cannot be started"),
    ],
)
async def test_a_program_that_cannot_be_run_is_named_with_its_hint(
    tmp_path: Path, command: str, says: str
) -> None:
    (tmp_path / "folder").mkdir()
    hint = "\\e[31mapt install it\nor ask\x1b[0m"
    told = await _refused(Exec(command=command, api_version=_V1, install_hint=hint), tmp_path)
    assert says in told
    assert told.endswith("apt install it or ask [0m")


async def test_one_that_always_needs_a_terminal_is_not_run_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    plugin = _script(tmp_path, f"touch {tmp_path}/ran", interactive_mode="Always")
    assert "needs a terminal (interactiveMode is Always)" in await _refused(plugin, tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("exit 3", "exited with code 3"),
        ("kill -9 $$", "was ended by signal 9"),
        ("echo first >&2; echo log in again >&2; echo >&2; exit 1", "exited with code 1: log in again"),
        ("echo eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln >&2; exit 1", "exited with code 1: ..."),
        ("head -c 100000 /dev/zero >&2; exit 1", "exited with code 1"),
        ("echo no", "printed no ExecCredential"),
        ("echo '[]'", "printed no ExecCredential"),
        ("echo '{}'", "printed no ExecCredential of apiVersion"),
        (f"echo '{_printed().replace('/v1', '/v1beta1')}'", "printed no ExecCredential of apiVersion"),
        (f"echo '{_printed(token=7)}'", "printed no ExecCredential: Expected `str"),
        (f"echo '{_printed(token='a b')}'", "gave a token that no HTTP header can carry"),
        (f"echo '{_printed(clientKeyData='k')}'", "gave a certificate or a key, not both"),
        (f"echo '{_printed(token='t', expirationTimestamp='soon')}'", "gave an expirationTimestamp"),
        ("exec yes", "printed more than 1048576 bytes and was stopped"),
    ],
)
async def test_what_a_plugin_does_wrong_is_told(tmp_path: Path, text: str, says: str) -> None:
    assert f"plugin.sh {says}" in await _refused(_script(tmp_path, text), tmp_path)


_HANGS = "sleep 300 & echo $! >> {0}/pids; echo $$ >> {0}/pids; exec sleep 300"
_LEAVES = "sleep 300 & echo $! >> {0}/pids; echo $$ >> {0}/pids"


async def _none_is_left(folder: Path) -> bool:
    """Whether the processes that a script noted end; those whose parent has gone are reaped by another."""
    pids = [int(line) for line in (folder / "pids").read_text().split()]
    assert len(pids) == 2
    end = monotonic() + 10
    while monotonic() < end and any(map(_runs, pids)):
        await asyncio.sleep(0.05)
    return not any(map(_runs, pids))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("text", [_HANGS, _LEAVES], ids=["hangs", "leaves a child that holds its output"])
async def test_a_plugin_that_does_not_end_is_stopped_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(exec_plugin, "_SECONDS", 1.0)
    assert "did not end within 1 s and was stopped" in await _refused(
        _script(tmp_path, text.format(tmp_path)), tmp_path
    )
    assert await _none_is_left(tmp_path)


async def test_what_a_plugin_leaves_in_the_background_is_ended_with_it(tmp_path: Path) -> None:
    text = f"sleep 300 >/dev/null 2>&1 & echo $! >> {tmp_path}/pids; echo $$ >> {tmp_path}/pids; echo '{_printed(token='t')}'"
    assert (await _run(_script(tmp_path, text), tmp_path)).token == "t"
    assert await _none_is_left(tmp_path)


async def test_a_plugin_is_ended_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    task = asyncio.create_task(_run(_script(tmp_path, _HANGS.format(tmp_path)), tmp_path))
    while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < 2:
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _none_is_left(tmp_path)


def test_the_limit_is_less_than_a_minute() -> None:
    assert exec_plugin._SECONDS < 60


@given(st.binary())
def test_whatever_a_plugin_prints_there_is_an_answer_or_an_error_of_ours(out: bytes) -> None:
    _answers_or_refuses(out)


@given(
    st.dictionaries(
        st.sampled_from(["token", "clientCertificateData", "clientKeyData", "expirationTimestamp"]),
        st.none() | st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.none()),
    )
)
def test_whatever_a_status_holds_there_is_an_answer_or_an_error_of_ours(status: dict[str, Any]) -> None:
    _answers_or_refuses(_printed(**status).encode())


@given(
    st.from_regex(
        r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
    )
    | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
    | st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9" * 5000])
)
def test_whatever_time_a_plugin_states_it_is_one_or_an_error_of_ours(text: str) -> None:
    _answers_or_refuses(_printed(token="t", expirationTimestamp=text).encode())


def _answers_or_refuses(out: bytes) -> None:
    with suppress(PluginError):
        found = exec_plugin._read(Exec(command="x", api_version=_V1), exec_plugin._Ended(0, out, b""))
        assert found.token or (found.certificate and found.key)
        assert found.expires_at is None or found.expires_at.tzinfo is UTC


@given(st.text(), st.text(min_size=4))
def test_what_a_plugin_says_never_shows_what_it_is_told_in_confidence(text: str, secret: str) -> None:
    plugin = Exec(env=(EnvVar("A", secret),))
    said = exec_plugin._said(plugin, f"{text}{secret}".encode(errors="replace"))
    assert "\n" not in said
    assert len(said) <= 300
