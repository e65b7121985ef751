"""The image: built, pushed, or written to a file, by whichever of docker, podman and buildah answers.

python -m hack.image build NAME [--base IMAGE|auto]   auto: the Dockerfile's own base, or where it cannot be pulled one made here
python -m hack.image push NAME
python -m hack.image archive NAME FILE                as an OCI archive, for `ctr -n k8s.io images import FILE`
"""

import sys
from pathlib import Path

from hack import debian
from hack.image import base, engine
from hack.image.build import build
from hack.image.engine import EngineError


def main(arguments: list[str]) -> int:
    match arguments:
        case ["build", name]:
            build(engine.find(), name)
        case ["build", name, "--base", chosen]:
            build(engine.find(), name, chosen)
        case ["push", name]:
            engine.find().push(name)
        case ["archive", name, file]:
            engine.find().archive(name, Path(file))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (EngineError, debian.NotInstalled, base.BaseImageError) as error:
        sys.exit(f"image: {error}")
