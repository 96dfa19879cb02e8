"""Compress and decompress by CompressAI's mbt2018_mean: the other side of `speed.py`.

    python benchmarks/speed_compressai.py PICTURE.npy REPEATS THREADS

runs in an environment of its own, with CompressAI and PyTorch, on uint8 [H, W, 3], and prints a
line of JSON: seconds of the first call and the median of the others, multiply-accumulates per
pixel. The weights are untrained, which changes what the range coder is given and nothing else.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from compressai.zoo import mbt2018_mean
from training_compressai import macs_per_pixel

QUALITY = 3


def main() -> None:
    torch.set_num_threads(int(sys.argv[3]))
    pixels = np.load(sys.argv[1])
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous().float() / 255
    model = mbt2018_mean(quality=QUALITY, pretrained=False).eval()
    model.update()
    latest = {}

    def compress() -> None:
        latest.update(model.compress(x))

    def decompress() -> None:
        model.decompress(latest["strings"], latest["shape"])

    seconds = {}
    with torch.no_grad():
        for name, function in (("compress", compress), ("decompress", decompress)):
            taken = []
            for _ in range(int(sys.argv[2]) + 1):
                start = time.perf_counter()
                function()
                taken.append(time.perf_counter() - start)
            seconds[name] = (taken[0], statistics.median(taken[1:]))
        parts = {
            "compress": (model.g_a, model.h_a, model.h_s),
            "decompress": (model.h_s, model.g_s),
        }
        counted = macs_per_pixel(model, x, parts)
    about = {
        "seconds": seconds,
        "macs_per_pixel": counted,
        "versions": {name: version(name) for name in ("compressai", "torch")},
    }
    print(json.dumps(about))


if __name__ == "__main__":
    main()
