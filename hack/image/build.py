"""Builds the Dockerfile, on its own base or on one made here."""

import re
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import msa
from hack.image import base
from hack.image.engine import Engine, EngineError

_ROOT = Path(__file__).parents[2]


def build(builder: Engine, name: str, base: str = "") -> None:
    """Builds the Dockerfile.

    Args:
        builder: what builds.
        name: of the image, with a tag.
        base: another base image than the Dockerfile's, or `auto`.

    Raises:
        EngineError: it failed.
        NotInstalled, BaseImageError: a base was to be made and cannot be.
    """
    arguments = {
        "VERSION": msa.__version__,
        "REVISION": _revision(),
        "SOURCE": source(_git("remote", "get-url", "origin")),
    }
    if chosen := _reachable(builder) if base == "auto" else base:
        arguments["BASE_IMAGE"] = chosen
    builder.build(_ROOT, name, arguments=arguments, secrets=_authorities())


def _reachable(builder: Engine) -> str:
    public = default_base((_ROOT / "Dockerfile").read_text())
    if builder.has(public):
        return public
    try:
        builder.pull(public)
    except EngineError as error:
        print(
            f"{error}\nbuilding on {base.NAME} instead, which is made here of Debian's packages",
            flush=True,
        )
        return _made_here(builder)
    return public


def _made_here(builder: Engine) -> str:
    if not builder.has(base.NAME):
        builder.build(base.write_context(), base.NAME, arguments={}, secrets={})
    return base.NAME


def default_base(dockerfile: str) -> str:
    """The base image that a Dockerfile names."""
    found = re.search(r"^ARG BASE_IMAGE=(\S+)$", dockerfile, re.MULTILINE)
    if found is None:
        raise ValueError("the Dockerfile has no ARG BASE_IMAGE with a default")
    return found[1]


def source(remote: str) -> str:
    """Where the public finds the source: a remote's address without its credentials, and none of this machine's own paths."""
    parts = urlsplit(remote)
    return f"https://{parts.hostname}{parts.path.removesuffix('.git')}" if parts.scheme == "https" else ""


def _revision() -> str:
    """The commit, marked where the tree differs from it."""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str:
    """What git says; nothing outside of a clone."""
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def _authorities() -> dict[str, Path]:
    """Whom this machine trusts, the build trusts: a proxy's authority may be among them."""
    file = ssl.get_default_verify_paths().cafile
    return {"ca": Path(file)} if file else {}
