"""kubernetes_asyncio's kubeconfig loader without its 700 generated models, which cost 1.8 s and 70 MB (docs/adr/0002).

The packages' `__init__` modules import everything. Standing in for two of them, so that they are never run, lets the one
submodule that we use be imported alone; it needs nothing of the models.
"""

import importlib
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import Any, Final

_SUBMODULE: Final = "kubernetes_asyncio.config.kube_config"


def kubeconfig_loader() -> Any:
    """The class `kubernetes_asyncio.config.kube_config.KubeConfigLoader`."""
    return _kube_config().KubeConfigLoader


def config_exception() -> type[Exception]:
    """The error that the loader raises for a kubeconfig it cannot use."""
    error: type[Exception] = _kube_config().ConfigException
    return error


@cache
def _kube_config() -> Any:
    """The one submodule. What stood in for its packages is gone afterwards: the program that we are in may import the real ones."""
    if "kubernetes_asyncio" in sys.modules:
        return importlib.import_module(_SUBMODULE)
    spec = importlib.util.find_spec("kubernetes_asyncio")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("kubernetes_asyncio is not installed")
    root = spec.submodule_search_locations[0]
    before = set(sys.modules)
    _stand_in("kubernetes_asyncio", root)
    client = _stand_in("kubernetes_asyncio.client", f"{root}/client")
    client.ApiClient = client.Configuration = object  # type: ignore[attr-defined]  # named in annotations only
    try:
        return importlib.import_module(_SUBMODULE)
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "kubernetes_asyncio":
                del sys.modules[name]


def _stand_in(name: str, folder: str) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = [folder]
    sys.modules[name] = module
    return module
