"""Makes the golden files: weights, a picture compressed with them by every range coder, and the
symbols that all of these decode to.

`python -m tests.golden.make`, in the repository's root and the environment of `requirements.txt`,
which holds all range coders. New golden files give up the files of the old format or arithmetic, so
they are made when these are changed on purpose, and never otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data

from rdonet_jax import codec, config, partition, zoo
from tests.conftest import mini_parameters

FOLDER = Path(__file__).parent
PICTURES = {"constriction": FOLDER / "picture.rdo", "tfc": FOLDER / "picture-tfc.rdo"}
"""By the range coder that wrote them."""
SYMBOLS = FOLDER / "symbols.json"
QUALITY = 60.0


def weights_file() -> Path:
    """The golden weights, whatever their hash is."""
    (path,) = FOLDER.glob(f"*{zoo.SUFFIX}")
    return path


def hashes(symbols: Sequence[Sequence[np.ndarray]]) -> list[str]:
    """SHA-256 of the symbols of each level, run after run as little-endian 32-bit integers."""
    levels = (b"".join(run.astype("<i4").tobytes() for run in level) for level in symbols)
    return [hashlib.sha256(level).hexdigest() for level in levels]


def main() -> None:
    """Replaces what is there."""
    for path in FOLDER.glob(f"*{zoo.SUFFIX}"):
        path.unlink()
    preset = config.mini()
    record = {"made_by": "tests/golden/make.py"}
    model = zoo.load(str(zoo.save(FOLDER, "mini", preset, mini_parameters(preset, seed=1), record)))
    # As wide a strip as tests compress others of, so that nothing is compiled for it alone.
    image = np.ascontiguousarray(skimage.data.astronaut()[90:150, 60:370])
    levels = np.zeros((4, 20), np.uint8)
    levels[:, 4:8] = 2
    levels[:2, 8:12] = 1
    for coder_name, path in PICTURES.items():
        p = partition.from_level_map(levels)
        encoded = codec.encode(model, image, p, QUALITY, coder_name)
        path.write_bytes(encoded.data)
    SYMBOLS.write_text(json.dumps(hashes(encoded.symbols), indent=1) + "\n")


if __name__ == "__main__":
    main()
