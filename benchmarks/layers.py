"""Speed of equivalent forms of the 5×5 convolutions, with the gradients of XLA and of `layers.py`.

    python benchmarks/layers.py [--preset NAME] [--repeats N]

Strided: directly, and as a 3×3 convolution over space-to-depth blocks. Transposed: over the input
with zeros in between, and as a 3×3 convolution followed by depth-to-space. Stride 1: directly.
Milliseconds of the forward pass, and of forward and backward together, for g_a, g_s and the prior
of y at the three levels, on 8 crops of 256×256; all forms are checked to be equal first, and
compiled as a training step is.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import config, partition, presets
from rdonet_jax.nn import layers, ops
from rdonet_jax.runtime import compilation

LAYOUT = ("NHWC", "HWIO", "NHWC")
BATCH, SIDE = 8, 256
OURS = "layers.py"

Layer = Callable[[jax.Array, jax.Array], jax.Array]


def strided(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (2, 2), ((2, 1), (2, 1)), dimension_numbers=LAYOUT
    )


def over_blocks(x: jax.Array, kernel: jax.Array) -> jax.Array:
    blocks = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    blocks = blocks.reshape(3, 2, 3, 2, *kernel.shape[2:]).transpose(0, 2, 1, 3, 4, 5)
    blocks = blocks.reshape(3, 3, -1, kernel.shape[-1])
    return jax.lax.conv_general_dilated(
        ops.space_to_depth(x), blocks, (1, 1), ((1, 1), (1, 1)), dimension_numbers=LAYOUT
    )


def to_phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    phases = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    phases = phases.reshape(3, 2, 3, 2, *kernel.shape[2:])[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 4, 1, 3, 5).reshape(3, 3, kernel.shape[2], -1)
    return ops.depth_to_space(
        jax.lax.conv_general_dilated(x, phases, (1, 1), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)
    )


def direct(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


def dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), ((2, 3), (2, 3)), lhs_dilation=(2, 2),
        dimension_numbers=LAYOUT,
    )  # fmt: skip


def milliseconds(function: Callable, repeats: int, *arguments: jax.Array) -> float:
    """Median time of a compiled call."""
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def compare(title: str, shape: tuple[int, ...], out: int, forms: dict[str, Layer], n: int) -> None:
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (5, 5, shape[-1], out)) / shape[-1]
    results = [compilation.jit(form)(x, kernel) for form in forms.values()]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-3)
    for name, form in forms.items():

        def gradients(x: jax.Array, k: jax.Array, f: Layer = form) -> tuple:
            y, pull_back = jax.vjp(f, x, k)
            return y, pull_back(y)

        forward = milliseconds(compilation.jit(form), n, x, kernel)
        both = milliseconds(compilation.jit(gradients), n, x, kernel)
        print(f"{title:<36}{name:<18}{forward:>9.1f}{both:>12.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small", choices=list(presets.PRESETS))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    preset = presets.preset(options.preset)
    first, second, third = preset.trunk
    print(f"jax {jax.__version__} on {jax.local_devices()}, ms, median of {options.repeats}")
    print(f"{'layer, 8 crops of 256x256':<36}{'form':<18}{'forward':>9}{'+ backward':>12}")
    down = {"strided": strided, "over blocks": over_blocks, OURS: layers.convolve_down}
    up = {"dilated": dilated, "depth-to-space": to_phases, OURS: layers.convolve_up}
    for divisor, (inputs, outputs) in zip(
        (1, 2, 4), ((3, first), (first, second), (second, third)), strict=True
    ):
        side = SIDE // divisor
        title = f"down {inputs} to {outputs} at {side}x{side}"
        compare(title, (BATCH, side, side, inputs), outputs, down, options.repeats)
        title = f"up {outputs} to {inputs} to {side}x{side}"
        compare(title, (BATCH, side // 2, side // 2, outputs), inputs, up, options.repeats)
    for level in range(config.LEVELS):
        side = SIDE // partition.STRIDES[level]
        inputs = preset.hyper[2] + preset.features[level]
        outputs = 2 * preset.latents[level]
        title = f"same {inputs} to {outputs} at {side}x{side}"
        forms = {"direct": direct, OURS: layers.convolve}
        compare(title, (BATCH, side, side, inputs), outputs, forms, options.repeats)


if __name__ == "__main__":
    main()
