import json
import subprocess
import sys

_PROGRAM = """
import json, sys
from msa.kube.lean_import import kubeconfig_loader
loader = kubeconfig_loader()
models = [name for name in sys.modules if name.startswith("kubernetes_asyncio.client.models")]
resident = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(json.dumps({"name": loader.__name__, "models": len(models), "mb": int(resident.split()[1]) / 1024}))
"""


def test_the_kubeconfig_loader_comes_without_the_models() -> None:
    """A release of the library that is laid out otherwise must be noticed here, not by users who miss 70 MB."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["name"] == "KubeConfigLoader"
    assert found["models"] == 0
    assert found["mb"] < 60


_AFTERWARDS = """
import sys
from msa.kube.lean_import import kubeconfig_loader
first = kubeconfig_loader()
assert not [name for name in sys.modules if name.startswith("kubernetes_asyncio")]
import kubernetes_asyncio
assert kubernetes_asyncio.client.CoreV1Api
assert kubeconfig_loader() is first
"""


def test_the_program_that_we_are_in_can_import_the_real_library_afterwards() -> None:
    subprocess.run([sys.executable, "-c", _AFTERWARDS], check=True)
