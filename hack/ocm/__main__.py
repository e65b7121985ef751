"""OCM's parts as processes: `python -m hack.ocm hub ...` on the hub, `python -m hack.ocm cluster ...` for each managed cluster."""

import argparse
import sys
from datetime import timedelta
from pathlib import Path

import anyio

from hack.ocm import addon_template, cluster, install, manager_pods
from hack.ocm.api import Api
from hack.ocm.cluster import ClusterSettings
from hack.ocm.loops import until_told
from hack.ocm.pods import PodSettings
from hack.ocm.registration import RegistrationSettings
from msa.cli import logs


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    logs.configure(options.log_level)
    anyio.run(_hub if options.part == "hub" else _cluster, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.ocm", description=__doc__)
    parser.add_argument("--log-level", default="info")
    parts = parser.add_subparsers(dest="part", required=True)
    hub = parts.add_parser(
        "hub", help="admission, install strategy, configurations, AddOnTemplate, end of a cluster"
    )
    hub.add_argument("--kubeconfig", type=Path, required=True, help="the hub administrator's")
    hub.add_argument(
        "--addon-manager-kubeconfig",
        type=Path,
        required=True,
        help="OCM's addon manager's, for AddOnTemplate",
    )
    hub.add_argument(
        "--folder", type=Path, help="run the addon manager's pods, with pids, logs and volumes in here"
    )
    member = parts.add_parser("cluster", help="registration agent, work agent, pods")
    member.add_argument("name")
    member.add_argument("--hub-kubeconfig", type=Path, required=True, help="the cluster's own, for the hub")
    member.add_argument("--kubeconfig", type=Path, required=True, help="the managed cluster administrator's")
    member.add_argument("--folder", type=Path, required=True, help="for pids, logs and volumes")
    member.add_argument("--driver", choices=["csr", "token"], default="csr")
    member.add_argument("--certificate-seconds", type=int, default=0, help="0: as the signer likes")
    member.add_argument("--lease-patience-seconds", type=float, default=300.0)
    member.add_argument("--no-pods", action="store_true", help="leave pods alone")
    return parser


async def _hub(options: argparse.Namespace) -> None:
    async with (
        Api.opened(options.kubeconfig) as api,
        Api.opened(options.addon_manager_kubeconfig) as addon_manager,
    ):
        parts = [install.run(api), addon_template.run(addon_manager)]
        if options.folder is not None:
            parts.append(manager_pods.run(api, PodSettings("hub", options.folder, options.kubeconfig)))
        await until_told(*parts)


async def _cluster(options: argparse.Namespace) -> None:
    settings = ClusterSettings(
        RegistrationSettings(
            options.name,
            options.hub_kubeconfig,
            options.driver,
            options.certificate_seconds,
        ),
        options.kubeconfig,
        options.folder,
        timedelta(seconds=options.lease_patience_seconds),
        not options.no_pods,
    )
    async with Api.opened(options.hub_kubeconfig) as hub, Api.opened(options.kubeconfig) as managed:
        await until_told(cluster.run(settings, hub, managed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
