"""Checks that files of one machine or engine decode to the same symbols with another.

    python benchmarks/same_symbols.py write FOLDER [--images DIR] [--model NAME] [--engine ENGINE]
    python benchmarks/same_symbols.py read FOLDER [--model NAME] [--engine ENGINE]
    python benchmarks/same_symbols.py table FOLDER [--python NAME=PATH ...]

`write` compresses photographs, and an odd-sized part of each, at five qualities and with several
masks. It stores the files, hashes of their symbols and the images that are decoded here. `read`
decodes the files and compares both. Run it in both directions, since an encoder may choose other
symbols at ties. With the NumPy engine and --images, neither needs JAX. `table` does both for every
interpreter and both engines, and reads with other threads, instructions and kernels as well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import float_modes
import numpy as np
import same_symbols_table
from PIL import Image

from rdonet_jax.codec import codec
from rdonet_jax.codec.bitstream import FormatError
from rdonet_jax.core import partition
from rdonet_jax.core.defaults import DEFAULT_ENGINE, ENGINES
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import dataset, srgb
from rdonet_jax.models import zoo

QUALITIES = (0.0, 25.0, 50.0, 75.0, 100.0)
MASKS = ("variance", "random", "uniform-16", "uniform-64")


def hash_of(symbols: Sequence[Sequence[np.ndarray]]) -> str:
    """A hash of the symbols of all levels as little-endian 32-bit integers."""
    runs = (run.astype("<i4").tobytes() for level in symbols for run in level)
    return hashlib.sha256(b"".join(runs)).hexdigest()


def here(engine: str) -> str:
    """What computes in this process."""
    if engine == "numpy":
        return f"NumPy {np.__version__}"
    import jax

    return f"JAX {jax.__version__} on {jax.devices()[0].device_kind}"


def photographs(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """Names and pixels, cropped to --side. Without a folder, photographs of scikit-image."""
    if options.images is None:
        import skimage.data

        for name in ("astronaut", "coffee", "chelsea"):
            yield name, crop(getattr(skimage.data, name)(), options.side)
        return
    for path in dataset.find([options.images])[: options.count]:
        yield path.stem, crop(srgb.load(path), options.side)


def crop(image: np.ndarray, side: int | None) -> np.ndarray:
    """The middle of an image, at most side × side."""
    if side is None:
        return image
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def partition_of(model: zoo.Model, image: np.ndarray, mask: str, quality: float) -> Partition:
    """A partition by the name of a mask, of which "random" is one."""
    if mask != "random":
        return codec.choose_partition(model, image, mask, quality)
    rng = np.random.default_rng(int(quality))
    rows, columns = partition.block_grid(*image.shape[:2])
    split64 = rng.random((rows, columns)) < 2 / 3
    split32 = rng.random((2 * rows, 2 * columns)) < 1 / 2
    both = split32 & split64.repeat(2, axis=0).repeat(2, axis=1)
    return partition.trim(Partition(split64, both), *image.shape[:2])


def cases(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray, float, str]]:
    """What is coded, as tuples of name, pixels, quality and mask."""
    for name, image in photographs(options):
        odd = image[: image.shape[0] // 2 + 5, : image.shape[1] // 3 + 2]
        for quality in QUALITIES:
            for mask in MASKS:
                yield f"{name}-{mask}-{quality:g}", image, quality, mask
            yield f"{name}-odd-{quality:g}", odd, quality, "variance"


def write(options: argparse.Namespace, model: zoo.Model) -> None:
    (folder,) = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    hashes: dict[str, str] = {}
    for name, pixels, quality, mask in cases(options):
        pixels = np.ascontiguousarray(pixels)
        p = partition_of(model, pixels, mask, quality)
        encoded = codec.encode(model, pixels, p, quality, engine=options.engine)
        (folder / f"{name}.rdo").write_bytes(encoded.data)
        Image.fromarray(encoded.image).save(folder / f"{name}.png", compress_level=1)
        hashes[name] = hash_of(encoded.symbols)
    written = {"model": model.name, "by": here(options.engine), "symbols": hashes}
    (folder / "symbols.json").write_text(json.dumps(written, indent=1))
    print(f"{len(hashes)} files by {written['by']}")


class Found(NamedTuple):
    """What reading a folder has found."""

    equal: int  # files that decode to the symbols that were written
    count: int
    refused: int
    largest: int  # difference of a sample
    share: float  # of the samples that differ


def read_folder(folder: Path, model: zoo.Model, engine: str) -> Found:
    """Decodes the files of a folder, and compares symbols and pixels with what was written."""
    symbols = json.loads((folder / "symbols.json").read_text())["symbols"]
    equal, largest, differing, samples, refused = 0, 0, 0, 0, 0
    for name, expected in symbols.items():
        try:
            decoded = codec.decode(model, (folder / f"{name}.rdo").read_bytes(), engine=engine)
        except FormatError:
            refused += 1
            continue
        equal += hash_of(decoded.symbols) == expected
        with Image.open(folder / f"{name}.png") as file:
            step = np.abs(decoded.image.astype(int) - np.asarray(file))
        largest, samples = max(largest, int(step.max())), samples + math.prod(step.shape)
        differing += np.count_nonzero(step)
    return Found(equal, len(symbols), refused, largest, differing / max(samples, 1))


def read(options: argparse.Namespace, model: zoo.Model) -> None:
    if options.flush_denormals:
        float_modes.flush_denormals()
    if options.rounding:
        float_modes.round_to(options.rounding)
    results = [read_folder(folder, model, options.engine) for folder in options.folder]
    if options.json:
        print(json.dumps([found._asdict() for found in results]))
        return
    for folder, found in zip(options.folder, results, strict=True):
        written = json.loads((folder / "symbols.json").read_text())
        print(f"written by {written['by']}, read by {here(options.engine)}: {found.equal} of "
              f"{found.count} files with the same symbols, {found.refused} refused; samples differ "
              f"by {found.largest} at most, {found.share:.4%} of them")  # fmt: skip
    if any(found.equal != found.count for found in results):
        raise SystemExit("not all files decode to the symbols that were written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("write", "read", "table"))
    parser.add_argument("folder", type=Path, nargs="+", help="one, or for `read` several")
    parser.add_argument("--images", dest="images", type=Path, help="folder; scikit-image's without")
    parser.add_argument("--count", type=int, default=3, help="at most so many images")
    parser.add_argument("--side", type=int, help="of the middle that is cropped; default: all")
    parser.add_argument("--model", default="standard")
    parser.add_argument("--engine", choices=ENGINES, default=DEFAULT_ENGINE)
    parser.add_argument("--python", nargs="+", default=[], metavar="NAME=PATH",
                        help="interpreters of the table; this one without")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="what `read` finds, for programs")
    parser.add_argument("--flush-denormals", action="store_true", help="when reading")
    parser.add_argument("--rounding", choices=float_modes.ROUNDING, help="when reading")
    options = parser.parse_args()
    if options.what == "table":
        same_symbols_table.table(options)
        return
    model = zoo.load(options.model)
    {"write": write, "read": read}[options.what](options, model)


if __name__ == "__main__":
    main()
