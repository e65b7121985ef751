"""kubernetes_asyncio's kubeconfig loader: asks the programs and the identity providers that a kubeconfig's user names."""

import logging
from types import SimpleNamespace
from typing import Any

from msa.kube.lean_import import config_exception, kubeconfig_loader

__all__ = ["ask", "config_exception"]


async def ask(document: dict[str, Any]) -> tuple[str, str, str]:
    """The answer for the current context's user.

    Returns:
        The value of the Authorization header, and the files of a client certificate and its key; each "" where there is none.

    Raises:
        Exception: `config_exception()`, or what the loader comes upon in what it reads.
    """
    loader = kubeconfig_loader()
    logging.getLogger(loader.__module__).disabled = True  # it logs what it raises, with what the file says
    target = SimpleNamespace(api_key={}, cert_file="", key_file="")
    await loader(config_dict=document, config_base_path="").load_and_set(target)
    return target.api_key.get("BearerToken", ""), target.cert_file or "", target.key_file or ""
