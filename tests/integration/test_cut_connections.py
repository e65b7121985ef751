"""Connections that break in the middle of a line, of a request, of an answer."""

import time
from urllib.parse import urlsplit

from hack.processes import wait_until
from msa.api import names
from tests.integration.conftest import StartAddon
from tests.support import identities
from tests.support.identities import condition, create, token
from tests.support.proxy import unruly_proxy


def test_identities_come_and_go_while_every_connection_to_the_hub_is_cut_again_and_again(
    start_addon: StartAddon,
) -> None:
    addon = start_addon("cut")
    addon.stop()
    with unruly_proxy(urlsplit(addon.hub.server).port or 0, seed=1) as proxy:
        kubeconfig = addon.hub_kubeconfig
        kubeconfig.write_text(
            kubeconfig.read_text().replace(addon.hub.server, f"https://127.0.0.1:{proxy.port}")
        )
        addon.start()
        proxy.cutting = True
        for number in range(12):
            create(addon, f"one-{number}", validity="1h")
            if number >= 6:
                addon.hub.kubectl("delete", "msa", "-n", addon.cluster_name, f"one-{number - 6}")
            time.sleep(0.3)  # spread over several connections
        assert proxy.cuts >= 3, "connections were cut"
        proxy.cutting = False
        kept, gone = [f"one-{number}" for number in range(6, 12)], [f"one-{number}" for number in range(6)]

        def settled() -> bool:
            ready = all(
                condition(addon, name).get("status") == "True" and token(addon, name) for name in kept
            )
            return ready and not any(identities.account(addon, name) for name in gone)

        assert wait_until(settled, 60, 0.5)
        listed = addon.managed.kubectl(
            "get", "sa", "-n", addon.install_namespace, "-l", f"{names.LABEL_MANAGED}=true", "-o", "name"
        )
        assert len(listed.split()) == len(kept)
        addon.stop()
