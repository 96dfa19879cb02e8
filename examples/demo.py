"""Compresses photographs with the bundled model, decompresses them, and draws comparisons.

    python examples/demo.py [--out FOLDER] [--model NAME] [IMAGE ...]

Without images it takes three photographs of scikit-image, which have free licenses. For each image
it writes the compressed file, the decoded image and a comparison: original, decoded image, and the
blocks in which it was coded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rdonet_jax import visualize
from rdonet_jax.codec import codec
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import partition
from rdonet_jax.evaluation import results
from rdonet_jax.imaging import output_files, srgb
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.metrics import quality
from rdonet_jax.models import zoo

SAMPLES = ("astronaut", "coffee", "chelsea")
COLUMNS = ("{:>8.3f}", "{:>9.2f}", "{:>10.4f}", "{:>8.2f} s", "{:>9.2f} s")


class DemoError(ValueError):
    """An error that the user can correct."""


def samples() -> dict[str, np.ndarray]:
    """scikit-image's photographs, uint8 [H, W, 3]."""
    try:
        import skimage.data
    except ImportError as error:
        raise DemoError("without images the demo needs scikit-image's") from error
    return {name: np.ascontiguousarray(getattr(skimage.data, name)()) for name in SAMPLES}


def load(paths: Sequence[Path], folder: Path) -> dict[str, np.ndarray]:
    """The user's images, by the names of their results in `folder`. Raises `DemoError`."""
    images: dict[str, np.ndarray] = {}
    for path in paths:
        if path.resolve().parent == folder.resolve():
            raise DemoError(f"{path}: lies in {folder}, where results could overwrite it")
        if path.stem in images:
            raise DemoError(f"{path}: a second image called {path.stem} would overwrite results")
        images[path.stem] = srgb.load(path)
    return images


def show(model: zoo.Model, name: str, image: np.ndarray, folder: Path) -> results.Row:
    """Compresses an image to a file and decompresses it. Measures rate, quality and times.

    Writes the file, the decoded image and the comparison.
    """
    chosen = codec.choose_partition(model, image, "variance")
    codec.decompress(model, codec.compress(model, image, chosen))  # compiles for this size

    start = time.perf_counter()
    data = codec.compress(model, image, codec.choose_partition(model, image, "variance"))
    compressing = time.perf_counter() - start
    output_files.write_bytes(folder / f"{name}.rdo", data, force=True)

    data = (folder / f"{name}.rdo").read_bytes()
    start = time.perf_counter()
    decoded = codec.decode(model, data)
    decompressing = time.perf_counter() - start
    srgb.save(folder / f"{name}.png", decoded.image, force=True)

    bpp = 8 * len(data) / (image.shape[0] * image.shape[1])
    seen = quality.measure(image, decoded.image)
    psnr = float("inf") if seen["psnr"] is None else seen["psnr"]
    caption = visualize.quality_caption(bpp, psnr, seen["ms_ssim"])
    levels = np.asarray(partition.level_map(decoded.partition))
    comparison = visualize.comparison(image, decoded.image, levels, name, caption)
    srgb.save(folder / f"{name}-comparison.png", comparison, force=True)
    return results.Row(name, bpp, seen, compressing, decompressing)


def line(row: results.Row, size: str = "", file_bytes: int | str = "") -> str:
    """A line of the table; "-" stands for a value that an image has not."""
    times = row.encoding_time, row.decoding_time
    values = row.bpp, row.quality["psnr"], row.quality["ms_ssim"], *times
    cells = (
        "-".rjust(len(form.format(0))) if value is None else form.format(value)
        for form, value in zip(COLUMNS, values, strict=True)
    )
    return f"{row.name:<13}{size:<9}{file_bytes:>7}" + "".join(cells)


def run(options: argparse.Namespace) -> None:
    model = zoo.load(options.model)
    images = load(options.images, options.out) or samples()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"Model {model.name}. bpp is of the whole file; times are without compilation.\n")
    print("image        size      bytes    bpp   PSNR dB  MS-SSIM  compress  decompress")
    rows = []
    for name, image in images.items():
        row = show(model, name, image, options.out)
        rows.append(row)
        size = f"{image.shape[1]}x{image.shape[0]}"
        print(line(row, size, (options.out / f"{name}.rdo").stat().st_size))
    print(line(results.mean(rows)))
    print(f"\nCompressed files, restored images and comparisons are in {options.out}/.")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 after one line that says what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE")
    parser.add_argument("--out", type=Path, default=Path("demo_output"))
    parser.add_argument("--model", default="standard")
    try:
        run(parser.parse_args(arguments))
    except (DemoError, OSError, EncodeError, ImageError, zoo.ZooError) as error:
        print(f"demo.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
