"""Makes the golden files: weights, an image compressed with them by every range coder, and the
symbols that all of these decode to; images in other forms (version 3 of the format) and one with
regions (version 5), likewise.

`python -m tests.golden.make`, in the repository's root and the environment of `requirements.txt`,
which holds all range coders; `python -m tests.golden.make forms` for the other forms alone, with
the weights that are there, and `regions` for that with regions. New golden files give up the files
of the old format or arithmetic, so they are made when these are changed on purpose, and never
otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data

from rdonet_jax.codec import codec
from rdonet_jax.core import partition, presets
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models import zoo
from tests.portable_params import mini_parameters

FOLDER = Path(__file__).parent
FILES = {"constriction": FOLDER / "picture.rdo", "tfc": FOLDER / "picture-tfc.rdo"}
"""By the range coder that wrote them."""
SYMBOLS = FOLDER / "symbols.json"
FORMS = FOLDER / "forms.json"
"""The symbols of each file of another form, by its name."""
REGIONS = FOLDER / "regions.rdo"
"""The strip with blocks of other qualities."""
REGION_SYMBOLS = FOLDER / "regions.json"
GAINS = np.array([[0.0, 20.0, -60.0, 35.0, 100.0]])
QUALITY = 60.0


def weights_file() -> Path:
    """The golden weights, whatever their hash is."""
    (path,) = FOLDER.glob(f"*{zoo.SUFFIX}")
    return path


def hashes(symbols: Sequence[Sequence[np.ndarray]]) -> list[str]:
    """SHA-256 of the symbols of each level, run after run as little-endian 32-bit integers."""
    levels = (b"".join(run.astype("<i4").tobytes() for run in level) for level in symbols)
    return [hashlib.sha256(level).hexdigest() for level in levels]


def form_file(name: str) -> Path:
    """The file of an image in another form."""
    return FOLDER / f"{name}.rdo"


def strip() -> np.ndarray:
    """As wide as tests compress others of, so that nothing is compiled for it alone."""
    return np.ascontiguousarray(skimage.data.astronaut()[90:150, 60:370])


def strip_partition() -> Partition:
    """All levels."""
    levels = np.zeros((4, 20), np.uint8)
    levels[:, 4:8] = 2
    levels[:2, 8:12] = 1
    return partition.from_level_map(levels)


def images_by_form() -> dict[str, ImageData]:
    """One that has everything, and one that is alike but for soft transparency."""
    colors = strip()
    rows, columns = np.mgrid[: colors.shape[0], : colors.shape[1]]
    alpha = np.clip(6 * (np.hypot(rows - 30, columns - 200) - 20), 0, 255).astype(np.uint8)
    fine = pixel_format.to_uint16(colors[..., 1]) + (rows * columns % 257).astype(np.uint16) // 2
    everything = ImageData(
        np.minimum(fine, 65535).astype(np.uint16),
        pixel_format.to_uint16(alpha) // 3,
        icc=bytes(range(128)),
        exif=b"II*\0" + bytes(range(40)),
    )
    return {"gray-16-alpha": everything, "rgb-8-alpha": ImageData(colors, alpha)}


def make_forms(model: zoo.Model) -> None:
    """Replaces the files of other forms."""
    symbols = {}
    for name, image in images_by_form().items():
        encoded = codec.encode(model, image, strip_partition(), QUALITY)
        form_file(name).write_bytes(encoded.data)
        symbols[name] = hashes(encoded.symbols)
    FORMS.write_text(json.dumps(symbols, indent=1) + "\n")


def make_regions(model: zoo.Model) -> None:
    """Replaces the file with regions."""
    encoded = codec.encode(model, strip(), strip_partition(), QUALITY, gains=GAINS)
    REGIONS.write_bytes(encoded.data)
    REGION_SYMBOLS.write_text(json.dumps(hashes(encoded.symbols), indent=1) + "\n")


def main() -> None:
    """Replaces what is there."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for path in FOLDER.glob(f"*{zoo.SUFFIX}"):
        path.unlink()
    preset = presets.mini()
    record = {"made_by": "tests/golden/make.py"}
    model = zoo.load(str(zoo.save(FOLDER, "mini", preset, mini_parameters(preset, seed=1), record)))
    for coder_name, path in FILES.items():
        encoded = codec.encode(model, strip(), strip_partition(), QUALITY, coder_name)
        path.write_bytes(encoded.data)
    SYMBOLS.write_text(json.dumps(hashes(encoded.symbols), indent=1) + "\n")
    make_forms(model)
    make_regions(model)


if __name__ == "__main__":
    if sys.argv[1:] == ["forms"]:
        make_forms(zoo.load(str(weights_file())))
    elif sys.argv[1:] == ["regions"]:
        make_regions(zoo.load(str(weights_file())))
    else:
        main()
