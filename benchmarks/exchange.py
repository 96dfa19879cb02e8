"""Checks that files of one machine decode to the same symbols on another, and compares pixels.

    python benchmarks/exchange.py write FOLDER [--images DIR] [--model NAME]     on one machine
    python benchmarks/exchange.py read FOLDER                                      on the other

`write` compresses the center of each photograph, and of its odd-sized left part, at several
qualities and with several masks. It stores the files, hashes of their symbols and the images that
this machine decodes. `read` decodes the files and compares both. Run it in both directions, since
an encoder on an accelerator chooses other symbols at ties.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
import skimage.data
from PIL import Image

from rdonet_jax.codec import codec
from rdonet_jax.imaging import dataset, srgb
from rdonet_jax.models import zoo

QUALITIES = (0.0, 30.0, 60.0, 100.0)
MASKS = ("variance", "uniform-16", "uniform-64")
MOST_IMAGES = 3
SIDE = 384


def hash_of(symbols: Sequence[Sequence[np.ndarray]]) -> str:
    """A hash of the symbols of all levels as little-endian 32-bit integers."""
    runs = (run.astype("<i4").tobytes() for level in symbols for run in level)
    return hashlib.sha256(b"".join(runs)).hexdigest()


def device() -> str:
    """The kind of device that computes."""
    return jax.devices()[0].device_kind


def photographs(folder: Path | None) -> Iterator[tuple[str, np.ndarray]]:
    """Names and pixels, at most SIDE × SIDE. Without a folder, photographs of scikit-image."""
    if folder is None:
        for name in ("astronaut", "coffee", "chelsea"):
            yield name, getattr(skimage.data, name)()
        return
    for path in dataset.find([folder])[:MOST_IMAGES]:
        whole = np.asarray(srgb.read(path))
        top, left = (max(0, (side - SIDE) // 2) for side in whole.shape[:2])
        yield path.stem, whole[top : top + SIDE, left : left + SIDE]


def cases(folder: Path | None) -> Iterator[tuple[str, np.ndarray, float, str]]:
    """What is coded, as tuples of name, pixels, quality and mask."""
    for name, pixels in photographs(folder):
        for quality in QUALITIES:
            yield f"{name}-{quality:g}", pixels, quality, "variance"
        odd = pixels[: SIDE // 2 + 5, : SIDE // 3 + 2]
        for masks in MASKS:
            yield f"{name}-{masks}", odd, 50.0, masks


def write(folder: Path, source: Path | None, model: zoo.Model) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    told = {}
    for name, pixels, quality, masks in cases(source):
        pixels = np.ascontiguousarray(pixels)
        chosen = codec.choose_partition(model, pixels, masks, quality)
        encoded = codec.encode(model, pixels, chosen, quality)
        decoded = codec.decode(model, encoded.data)
        (folder / f"{name}.rdo").write_bytes(encoded.data)
        Image.fromarray(decoded.image).save(folder / f"{name}.png")
        told[name] = hash_of(encoded.symbols)
    described = {"model": model.name, "device": device(), "jax": jax.__version__}
    (folder / "symbols.json").write_text(json.dumps({**described, "symbols": told}, indent=1))
    print(f"{len(told)} files by JAX {jax.__version__} on {device()}")


def read(folder: Path, model: zoo.Model) -> None:
    told = json.loads((folder / "symbols.json").read_text())
    equal, steps, differing, count = 0, 0, 0, 0
    for name, symbols in told["symbols"].items():
        decoded = codec.decode(model, (folder / f"{name}.rdo").read_bytes())
        equal += hash_of(decoded.symbols) == symbols
        step = np.abs(decoded.image.astype(int) - np.asarray(Image.open(folder / f"{name}.png")))
        steps, count = max(steps, step.max()), count + step.size
        differing += np.count_nonzero(step)
    print(f"written by JAX {told['jax']} on {told['device']}, "
          f"read by JAX {jax.__version__} on {device()}: "
          f"{equal} of {len(told['symbols'])} files with the same symbols; samples differ by "
          f"{steps} at most, {differing / count:.4%} of them")  # fmt: skip
    if equal != len(told["symbols"]):
        raise SystemExit("not all files decode to the symbols that were written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("write", "read"))
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--images", "--pictures", dest="images", type=Path, help="folder; scikit-image's without"
    )
    parser.add_argument("--model", default="standard")
    options = parser.parse_args()
    model = zoo.load(options.model)
    if options.what == "write":
        write(options.folder, options.images, model)
    else:
        read(options.folder, model)


if __name__ == "__main__":
    main()
