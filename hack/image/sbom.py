"""The bill of materials of what runs, as CycloneDX 1.6 JSON: `python -m hack.image.sbom FILE`.

Names, versions, purls, hashes and who needs whom are uv's export of uv.lock, licences what the installed packages declare. The same lock
gives the same file.
"""

import importlib.metadata
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msa

_ROOT = Path(__file__).parents[2]
_UV = _ROOT / "build/uv/bin/uv"
_EXPORT = ("export", "--quiet", "--frozen", "--no-dev", "--format=cyclonedx1.5")
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org")
_LONGEST_NAME = 64
"""Characters of a declared licence; what is longer is its text."""

Json = dict[str, Any]


class SbomError(Exception):
    """The message is what uv said."""


def made(exported: Json, declared: Callable[[str], list[Json]]) -> Json:
    """The bill in 1.6, of uv's export in 1.5; all that 1.5 knows is the same in 1.6.

    Args:
        exported: what uv wrote.
        declared: the licences of a package, by its name.
    """
    subject = exported["metadata"]["component"] | {
        "type": "application",
        "version": msa.__version__,
        "licenses": [_expression("Apache-2.0")],
    }
    bill = exported | {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "specVersion": "1.6",
        # Without the time: the file changes when its content does.
        "metadata": {"tools": exported["metadata"]["tools"], "component": subject},
        "components": [_with_licences(component, declared) for component in exported["components"]],
    }
    del bill["serialNumber"]
    return bill | {"serialNumber": uuid.uuid5(_SPACE, json.dumps(bill, sort_keys=True)).urn}


def _with_licences(component: Json, declared: Callable[[str], list[Json]]) -> Json:
    found = declared(component["name"])
    return component | {"licenses": found} if found else component


def installed(name: str) -> list[Json]:
    """What the installed package of that name declares as its licence; nothing where it is not installed."""
    try:
        told = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return []
    if "License-Expression" in told:
        return [_expression(told["License-Expression"])]
    text = told["License"].strip() if "License" in told else ""
    short = text and len(text) <= _LONGEST_NAME and "\n" not in text
    return [{"license": {"name": text, "acknowledgement": "declared"}}] if short else []


def _expression(spdx: str) -> Json:
    return {"expression": spdx, "acknowledgement": "declared"}


def exported() -> Json:
    """What uv.lock says of the packages that run. Raises SbomError."""
    done = subprocess.run([_UV, *_EXPORT], cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SbomError(f"uv export failed: {done.stderr.strip()}")
    bill: Json = json.loads(done.stdout)
    return bill


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    file = Path(arguments[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(made(exported(), installed), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SbomError as error:
        sys.exit(f"sbom: {error}")
