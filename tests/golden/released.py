"""A file of each model that was ever released, with its symbols and its image.

`python -m tests.golden.released` adds those that are missing. What is there is never replaced: it
is the promise that files stay readable.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

from rdonet_jax.codec import codec
from rdonet_jax.models import zoo
from tests.golden import make as golden

FOLDER = Path(__file__).parent / "released"
SYMBOLS = FOLDER / "symbols.json"
"""Hashes of the symbols, by the hash of the weights as files hold it, in hex."""
QUALITY = 60.0


def compressed(digest: str) -> Path:
    return FOLDER / f"{digest}.rdo"


def decoded(digest: str) -> Path:
    """The image as the machine that wrote the file decoded it."""
    return FOLDER / f"{digest}.png"


def released() -> dict[str, Path]:
    """The weights files of the package, by their hash."""
    paths = (*zoo.bundled().values(), *zoo.earlier().values())
    return {zoo.load(path).digest.hex(): path for path in paths}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    symbols = json.loads(SYMBOLS.read_text()) if SYMBOLS.exists() else {}
    for digest, path in released().items():
        if digest not in symbols:
            encoded = codec.encode(
                zoo.load(path), golden.strip(), golden.strip_partition(), QUALITY
            )
            compressed(digest).write_bytes(encoded.data)
            Image.fromarray(encoded.image).save(decoded(digest))
            symbols[digest] = golden.hashes(encoded.symbols)
    SYMBOLS.write_text(json.dumps(symbols, indent=1) + "\n")


if __name__ == "__main__":
    main()
