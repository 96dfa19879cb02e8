"""Compares training steps with the limits of the device: the second part of `training.py`.

It first measures the rate of large matrix products in bfloat16 and in float32 (in JAX's default
precision, which is TF32 on NVIDIA cards, and in full precision) and the bandwidth of the memory.
Then it runs steps on batches in memory, by precision and batch size. TFLOP/s of a step are six
times the multiply-accumulates of the forward pass as the layers are defined. For each step it lists
lower bounds of its time: by matrix products ("matrix"), by the bytes that XLA counts for the
compiled step ("memory"), and by the input pipeline alone ("input"). A step that takes much longer
than the largest bound waits for something else, such as the start of many small operations.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from training_steps import Trainer

from rdonet_jax.core import config, presets
from rdonet_jax.imaging import dataset
from rdonet_jax.models import macs
from rdonet_jax.runtime import compilation
from rdonet_jax.training import config as training_config
from rdonet_jax.training.batches import crops

GIB = 2**30
PRECISIONS = ("float32", "bfloat16")
PRODUCTS = 16
"""Number of products in one call."""

SIDES = {"cpu": (512, 1024, 2048)}
LARGE_SIDES = (2048, 4096, 8192, 16384)
BANDWIDTH_BYTES = {"cpu": GIB // 4}
REPEATS, STEPS = 5, 3
INPUT_SECONDS = 5.0
POOL = 16
"""Number of different crops."""

COLUMNS = ("ms", "crops/s", "TFLOP/s", "of rate", "of bf16", "matrix", "memory", "input", "GiB",
           "peak")  # fmt: skip
HEADER = f"{'network':<9}{'precision':<10}{'batch':>6}" + "".join(f"{name:>9}" for name in COLUMNS)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Rates of one device."""

    matrix: dict[str, float]  # FLOP, by precision
    bandwidth: float  # bytes read and written


def best_seconds(function: Callable[[], object]) -> float:
    """The shortest time of some calls, after one that compiles."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@functools.partial(compilation.jit, static_argnames="precision")
def _chain(a: jax.Array, precision: str) -> jax.Array:
    """Consecutive products of matrices whose numbers keep their magnitude."""
    return jax.lax.fori_loop(0, PRODUCTS, lambda _, x: jnp.dot(x, a, precision=precision), a)


def matrix_rate(side: int, dtype: jnp.dtype, precision: str) -> float:
    """FLOP/s of products of square matrices."""
    a = (jax.random.normal(jax.random.key(0), (side, side)) / side**0.5).astype(dtype)
    return PRODUCTS * 2 * side**3 / best_seconds(lambda: _chain(a, precision))


def bandwidth() -> float:
    """Bytes per second, read and written, of an operation on every element of a large array."""
    size = BANDWIDTH_BYTES.get(jax.default_backend(), 2 * GIB)
    x = jnp.zeros(size // 4, jnp.float32)
    add = compilation.jit(lambda v: v + 1)
    return 2 * size / best_seconds(lambda: add(x))


def measure() -> Limits:
    """Measures and prints the limits."""
    best = {}
    sides = SIDES.get(jax.default_backend(), LARGE_SIDES)
    print(f"\n{'TFLOP/s of products, by side':<32}" + "".join(f"{side:>9}" for side in sides))
    for name, dtype, precision in (
        ("bfloat16", jnp.bfloat16, "default"),
        ("float32", jnp.float32, "default"),
        ("float32, full precision", jnp.float32, "highest"),
    ):
        rates = [matrix_rate(side, dtype, precision) for side in sides]
        print(f"{name:<32}" + "".join(f"{rate / 1e12:>9.3f}" for rate in rates), flush=True)
        best[name] = max(rates)
    limits = Limits(best, bandwidth())
    print(f"bandwidth {limits.bandwidth / 1e9:.0f} GB/s", flush=True)
    return limits


def input_seconds(seen: dataset.ImageDataset, schedule: training_config.TrainingConfig) -> float:
    """Seconds per crop of the input pipeline alone."""
    with crops.closing(crops.batches(seen, schedule)) as batches:
        for _ in range(crops.MOST_THREADS + crops.READY_BATCHES):  # may lie ready at the first call
            next(batches)
        start = time.perf_counter()
        count = 0
        while time.perf_counter() - start < INPUT_SECONDS:
            next(batches)
            count += schedule.batch_size
        return (time.perf_counter() - start) / count


@dataclasses.dataclass(frozen=True)
class Measured:
    """A training step on one device.

    Attributes:
      seconds: that it takes.
      bytes_moved: that its operations read and write, as XLA counts.
      bytes_planned: that it needs, arguments included, as XLA plans.
    """

    seconds: float
    bytes_moved: float
    bytes_planned: float


def measured(
    network_config: config.RDONetConfig, schedule: training_config.TrainingConfig, pool: np.ndarray
) -> Measured:
    """Measures steps on crops of the pool, which are repeated if it is too small."""
    numbers = np.arange(schedule.batch_size, dtype=np.int32)
    batch = crops.Batch(numbers, np.resize(pool, (len(numbers), *pool.shape[1:])))
    trainer = Trainer(network_config, schedule)
    compiled = trainer.compiled(batch)
    memory = compiled.memory_analysis()
    trainer.run(iter([batch]), 1)
    seconds = [trainer.run(itertools.repeat(batch, STEPS), STEPS) / STEPS for _ in range(REPEATS)]
    return Measured(
        statistics.median(seconds),
        compiled.cost_analysis()["bytes accessed"],
        memory.argument_size_in_bytes + memory.temp_size_in_bytes,
    )


def peak() -> str:
    """Peak memory of the first device, used by this process so far, in GiB."""
    known = jax.local_devices()[0].memory_stats() or {}
    return f"{known['peak_bytes_in_use'] / GIB:.2f}" if "peak_bytes_in_use" in known else "-"


def report(
    names: Sequence[str],
    batch_sizes: Sequence[int],
    seen: dataset.ImageDataset,
    schedule: training_config.TrainingConfig,
) -> None:
    """Prints the limits, and a line for each preset, precision and batch size."""
    limits = measure()
    per_crop = input_seconds(seen, schedule)
    pool = np.stack([crops.random_crop(seen, schedule, index) for index in range(POOL)])
    print(f"input pipeline {1 / per_crop:.0f} crops/s with {crops.default_threads()} threads\n")
    print(HEADER)
    for preset, precision, size in itertools.product(names, PRECISIONS, batch_sizes):
        case = dataclasses.replace(schedule, batch_size=size, precision=precision)
        try:
            step = measured(presets.preset(preset), case, pool)
        except jax.errors.JaxRuntimeError as error:  # most likely too little memory
            print(f"{preset:<9}{precision:<10}{size:>6}  {str(error).splitlines()[0]}")
            continue
        count = sum(macs.per_pixel(presets.preset(preset)).values())
        flop = 6 * count * size * case.crop**2 / jax.local_device_count()
        columns = (
            f"{1e3 * step.seconds:.1f}",
            f"{size / step.seconds:.1f}",
            f"{flop / step.seconds / 1e12:.3f}",
            f"{flop / step.seconds / limits.matrix[precision]:.1%}",
            f"{flop / step.seconds / limits.matrix['bfloat16']:.1%}",
            f"{1e3 * flop / limits.matrix[precision]:.1f}",
            f"{1e3 * step.bytes_moved / limits.bandwidth:.1f}",
            f"{1e3 * size * per_crop:.1f}",
            f"{step.bytes_planned / GIB:.2f}",
            peak(),
        )
        row = "".join(f"{column:>9}" for column in columns)
        print(f"{preset:<9}{precision:<10}{size:>6}{row}", flush=True)
