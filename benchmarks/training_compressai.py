"""Runs training steps of CompressAI's mbt2018_mean on request, for `training.py`.

    python benchmarks/training_compressai.py CROPS.npy BATCH_SIZE THREADS

runs in a separate environment with CompressAI and PyTorch. It first writes a line of JSON with its
versions. Every line of its input is a number of steps to run. The answer is a line with their
seconds. A step is that of CompressAI's example: the rate-distortion loss, clipped
gradients, one optimizer for the network and one for the quantiles. CROPS.npy holds uint8
[N, side, side, 3], of which every step draws a batch.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from compressai.layers import GDN
from compressai.losses import RateDistortionLoss
from compressai.optimizers import net_aux_optimizer
from compressai.zoo import mbt2018_mean

QUALITY, LMBDA = 3, 0.0067
LEARNING_RATES = {"net": 1e-4, "aux": 1e-3}
CLIP_NORM = 1.0


def macs_per_pixel(
    model: torch.nn.Module, x: torch.Tensor, parts: dict[str, tuple] | None = None
) -> Any:
    """Multiply-accumulates of the convolutions and of GDN, per pixel of x [B, 3, H, W].

    Of the whole network; or, for each name in `parts`, of those modules of it.
    """
    counted: dict[torch.nn.Module, int] = {}

    def count(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if isinstance(module, GDN):
            counted[module] = output.numel() * output.shape[1]
            return
        transposed = isinstance(module, torch.nn.ConvTranspose2d)
        positions = (inputs[0] if transposed else output)[:, 0].numel()
        counted[module] = positions * module.weight.numel()

    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d, GDN)
    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    pixels = x[:, 0].numel()
    if parts is None:
        return sum(counted.values()) / pixels
    return {
        name: sum(counted.get(m, 0) for part in modules for m in part.modules()) / pixels
        for name, modules in parts.items()
    }


class Trainer:
    """The network, its optimizers and the crops."""

    def __init__(self, crops: np.ndarray, batch_size: int) -> None:
        self.crops, self.batch_size = crops, batch_size
        self.rng = np.random.default_rng(0)
        self.model = mbt2018_mean(quality=QUALITY, pretrained=False).train()
        settings = {name: {"type": "Adam", "lr": rate} for name, rate in LEARNING_RATES.items()}
        self.optimizers = net_aux_optimizer(self.model, settings)
        self.loss = RateDistortionLoss(lmbda=LMBDA, metric="mse")

    def batch(self) -> torch.Tensor:
        chosen = self.crops[self.rng.integers(len(self.crops), size=self.batch_size)]
        return torch.from_numpy(chosen).permute(0, 3, 1, 2).contiguous().float() / 255

    def step(self) -> None:
        x = self.batch()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        self.loss(self.model(x), x)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        self.optimizers["net"].step()
        self.model.aux_loss().backward()
        self.optimizers["aux"].step()


def main() -> None:
    torch.set_num_threads(int(sys.argv[3]))
    trainer = Trainer(np.load(sys.argv[1]), int(sys.argv[2]))
    about = {
        "macs_per_pixel": macs_per_pixel(trainer.model, trainer.batch()),
        "versions": {name: version(name) for name in ("compressai", "torch")},
        "threads": torch.get_num_threads(),
    }
    trainer.step()
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            trainer.step()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
