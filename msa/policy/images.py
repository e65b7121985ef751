"""Which registry an image is pulled from: OCM's mirrors, given by a configuration or by an annotation of the cluster."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from msa.api.addon import ImageMirror


class _Registries(Struct, frozen=True):
    registries: tuple[ImageMirror, ...] = ()


def parse_mirrors(text: str) -> tuple[ImageMirror, ...]:
    """The mirrors of the annotation `open-cluster-management.io/image-registries`; none of an empty text.

    Raises:
        ValueError: it is not what it should be; the message says where.
    """
    if not text:
        return ()
    try:
        return msgspec.json.decode(text, type=_Registries).registries
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def mirrored(image: str, mirrors: Iterable[ImageMirror]) -> str:
    """The image as the mirrors have it; of several that apply the last one counts, one that does not apply changes nothing."""
    found = image
    for mirror in mirrors:
        candidate = _replaced(image, mirror.source.rstrip("/"), mirror.mirror.rstrip("/"))
        if candidate != image:
            found = candidate
    return found


def _replaced(image: str, source: str, mirror: str) -> str:
    if not source:
        name = image.rpartition("/")[2]
        return f"{mirror}/{name}" if mirror else name
    return mirror + image.removeprefix(source) if image.startswith(source) else image
