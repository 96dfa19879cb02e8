"""Compress photographs with the bundled model, restore them, and show what happened.

    python examples/demo.py [--out FOLDER] [--model NAME] [PICTURE ...]

Without pictures it takes three that scikit-image ships under free licences. For each it writes the
compressed file, the restored picture and a comparison: original, decoded, and the blocks in which
it was coded.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rdonet_jax import codec, images, objective, partition, report, zoo

SAMPLES = ("astronaut", "coffee", "chelsea")


class Row(NamedTuple):
    """One picture's line in the table."""

    name: str
    size: str
    file_bytes: int
    bpp: float
    psnr: float
    ms_ssim: float
    compress_seconds: float
    decompress_seconds: float


def samples() -> dict[str, np.ndarray]:
    """scikit-image's photographs, uint8 [H, W, 3]."""
    import skimage.data

    return {name: np.ascontiguousarray(getattr(skimage.data, name)()) for name in SAMPLES}


def show(model: zoo.Model, name: str, image: np.ndarray, folder: Path) -> Row:
    """Through real files and back; writes the comparison beside them."""
    compressed = folder / f"{name}.rdo"
    chosen = codec.choose_partition(model, image, "variance")
    codec.decompress(model, codec.compress(model, image, chosen))  # compiles for this size

    start = time.perf_counter()
    data = codec.compress(model, image, codec.choose_partition(model, image, "variance"))
    images.write_bytes(compressed, data, force=True)
    written = time.perf_counter()
    decoded = codec.decode(model, compressed.read_bytes())
    images.save(folder / f"{name}.png", decoded.picture, force=True)
    restored = time.perf_counter()

    x, x_hat = (v.astype(np.float32) / 255.0 for v in (image, decoded.picture))
    bpp = 8 * compressed.stat().st_size / (image.shape[0] * image.shape[1])
    psnr, ms_ssim = float(objective.psnr(x, x_hat)), float(objective.ms_ssim(x, x_hat))
    levels = np.asarray(partition.level_map(decoded.partition))
    caption = report.caption(bpp, psnr, ms_ssim)
    comparison = report.comparison(image, decoded.picture, levels, name, caption)
    images.save(folder / f"{name}-comparison.png", comparison, force=True)
    size = f"{image.shape[1]}x{image.shape[0]}"
    times = written - start, restored - written
    return Row(name, size, compressed.stat().st_size, bpp, psnr, ms_ssim, *times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE")
    parser.add_argument("--out", type=Path, default=Path("demo_output"))
    parser.add_argument("--model", default="small")
    options = parser.parse_args()

    model = zoo.load(options.model)
    options.out.mkdir(parents=True, exist_ok=True)
    pictures = {path.stem: images.load(path) for path in options.pictures} or samples()
    print(f"Model {model.name}. bpp is of the whole file; times are without compilation.\n")
    print("picture        size      bytes    bpp   PSNR dB  MS-SSIM  compress  decompress")
    rows = []
    for name, image in pictures.items():
        row = show(model, name, image, options.out)
        rows.append(row)
        print(
            f"{row.name:<13}{row.size:<9}{row.file_bytes:>7}{row.bpp:>8.3f}{row.psnr:>9.2f}"
            f"{row.ms_ssim:>10.4f}{row.compress_seconds:>8.2f} s{row.decompress_seconds:>9.2f} s"
        )
    means = np.mean([row[3:] for row in rows], axis=0)
    print(
        f"{'mean':<29}{means[0]:>8.3f}{means[1]:>9.2f}{means[2]:>10.4f}"
        f"{means[3]:>8.2f} s{means[4]:>9.2f} s"
    )
    print(f"\nCompressed files, restored pictures and comparisons are in {options.out}/.")


if __name__ == "__main__":
    main()
