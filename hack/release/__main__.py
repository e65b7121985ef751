"""A release, built into dist/: `python -m hack.release VERSION`.

Wheel and sdist, chart, installer, bill of materials, alerts and dashboard, image, and the checksums of all. Nothing is published.
"""

import sys

from hack import binaries, charts, debian
from hack.image import base, engine, sbom
from hack.release.artifacts import ROOT, ReleaseError
from hack.release.build import build

_DIST = ROOT / "dist"


def main(arguments: list[str]) -> int:
    match arguments:
        case [version]:
            build(version, _DIST)
            return 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


_REASONS = (
    ReleaseError,
    charts.HelmError,
    sbom.SbomError,
    engine.EngineError,
    debian.NotInstalled,
    base.BaseImageError,
    binaries.Unavailable,
)

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except _REASONS as error:
        sys.exit(f"release: {' '.join(str(error).split())}")
