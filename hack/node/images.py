"""Images without a registry: an OCI archive of one static program."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, Final

_OCI: Final = "application/vnd.oci.image"


def write_archive(archive: Path, program: Path, machine: str) -> None:
    """Writes an image that holds and runs this program, as a user without rights.

    Args:
        archive: the file to write.
        program: needs no libraries.
        machine: as Go names it, such as amd64.
    """
    blobs: dict[str, bytes] = {}

    def described(kind: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    layer = described("layer.v1.tar", _tar({program.name: program.read_bytes()}, mode=0o755))
    settings = {
        "os": "linux",
        "architecture": machine,
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    config = described("config.v1+json", json.dumps(settings).encode())
    content = {"schemaVersion": 2, "config": config, "layers": [layer]}
    manifest = described("manifest.v1+json", json.dumps(content).encode())
    index = {"schemaVersion": 2, "manifests": [manifest]}
    layout = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
    archive.write_bytes(_tar({**layout, **blobs}, mode=0o644))


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
