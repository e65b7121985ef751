"""The predecessor's programs: `python -m hack.predecessor manager ...` and `... agent ...`, with the flags of ours as far as they use them."""

import argparse
import sys
from pathlib import Path
from typing import Final

import anyio
import yaml

from hack.ocm.api import Api
from hack.ocm.loops import until_told
from hack.predecessor import agent, manager
from hack.predecessor.agent import Site
from msa.cli import logs
from msa.runtime.http import Response, parse_address, serve

_UNREADY: Final = 503


def main(arguments: list[str]) -> int:
    options, _ignored = _parser().parse_known_args(arguments)
    logs.configure("info")
    anyio.run(_manager if options.program == "manager" else _agent, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.predecessor", description=__doc__)
    programs = parser.add_subparsers(dest="program", required=True)
    on_hub = programs.add_parser("manager")
    on_hub.add_argument("--kubeconfig", type=Path, required=True)
    on_hub.add_argument("--agent-image-name", required=True)
    on_cluster = programs.add_parser("agent")
    on_cluster.add_argument("--cluster-name", required=True)
    on_cluster.add_argument("--kubeconfig", type=Path, required=True, help="the hub")
    on_cluster.add_argument("--spoke-kubeconfig", type=Path, required=True)
    on_cluster.add_argument("--health-probe-bind-address", required=True)
    return parser


async def _manager(options: argparse.Namespace) -> None:
    async with Api.opened(options.kubeconfig) as hub:
        await until_told(manager.run(hub, options.agent_image_name))


async def _agent(options: argparse.Namespace) -> None:
    config = yaml.safe_load(options.spoke_kubeconfig.read_text())
    async with Api.opened(options.kubeconfig) as hub, Api.opened(options.spoke_kubeconfig) as managed:
        namespace = config["contexts"][0]["context"]["namespace"]
        site = Site(hub, managed, options.cluster_name, namespace, managed.transport.credential.ca)
        ready = anyio.Event()
        await until_told(agent.run(site, ready), _probes(options.health_probe_bind_address, ready))


async def _probes(address: str, ready: anyio.Event) -> None:
    async def answer() -> Response:
        return Response(b"ok") if ready.is_set() else Response(b"starting", code=_UNREADY)

    parsed = parse_address(address)
    if parsed is not None:
        await serve(parsed, {"/readyz": answer, "/healthz": answer})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
