"""Times compress and decompress of CompressAI's mbt2018_mean and mbt2018, for `speed.py`.

    python benchmarks/speed_compressai.py IMAGE.npy REPEATS THREADS

runs in a separate environment with CompressAI and PyTorch, on an image uint8 [H, W, 3]. It prints a
line of JSON: for each network the seconds of the first call, the median of the others, and
multiply-accumulates per pixel. The weights are untrained, which changes only the symbols that are
coded.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from compressai import zoo
from training_compressai import macs_per_pixel

QUALITY = 3
NETWORKS = ("mbt2018_mean", "mbt2018")


def measured(name: str, x: torch.Tensor, repeats: int) -> dict:
    """Of one network of CompressAI's, for an image [1, 3, H, W] in [0, 1]."""
    model = getattr(zoo, name)(quality=QUALITY, pretrained=False).eval()
    model.update()
    latest = {}

    def compress() -> None:
        latest.update(model.compress(x))

    def decompress() -> None:
        model.decompress(latest["strings"], latest["shape"])

    seconds = {}
    for what, function in (("compress", compress), ("decompress", decompress)):
        taken = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
        seconds[what] = (taken[0], statistics.median(taken[1:]))
    context = (model.context_prediction, model.entropy_parameters) if name == "mbt2018" else ()
    parts = {
        "compress": (model.g_a, model.h_a, model.h_s, *context),
        "decompress": (model.h_s, model.g_s, *context),
    }
    return {"seconds": seconds, "macs_per_pixel": macs_per_pixel(model, x, parts)}


def main() -> None:
    torch.set_num_threads(int(sys.argv[3]))
    pixels = np.load(sys.argv[1])
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous().float() / 255
    with torch.no_grad():
        found = {name: measured(name, x, int(sys.argv[2])) for name in NETWORKS}
    versions = {name: version(name) for name in ("compressai", "torch")}
    print(json.dumps({"networks": found, "versions": versions}))


if __name__ == "__main__":
    main()
