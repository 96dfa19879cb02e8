"""What JAX does before there are parameters, a training step, and an iteration of a refinement.

    python benchmarks/compilation.py [--preset mini] [--crop 128] [--batch-size 2]

Seconds by the clock, as JAX reports them, of all functions together: to trace them, to lower them
for XLA, and to compile them. Nothing comes from a folder of compiled code. Weights and images are
random.
"""

from __future__ import annotations

import argparse
import collections
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from training_steps import Trainer

from rdonet_jax.core import presets
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.models import zoo
from rdonet_jax.rdo import encoder
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from rdonet_jax.training import config as training_config
from rdonet_jax.training.batches import crops
from rdonet_jax.training.steps import train_state

STAGES = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}


class Durations:
    """Seconds by stage, from JAX's monitoring."""

    def __init__(self) -> None:
        self._seconds: collections.Counter[str] = collections.Counter()
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, seconds: float, **_: Any) -> None:
        self._seconds[event] += seconds

    def clear(self) -> None:
        """Forgets what was counted so far."""
        self._seconds.clear()

    def by_stage(self) -> list[float]:
        """Those of `STAGES`, of all functions that were compiled since then."""
        return [self._seconds[event] for event in STAGES]


def start(network_config: PortableConfig, schedule: training_config.TrainingConfig) -> Any:
    """The parameters that training begins with."""
    return jax.device_get(train_state.starting_params(network_config, schedule))


def train(network_config: PortableConfig, schedule: training_config.TrainingConfig) -> None:
    """One training step, on noise."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (schedule.batch_size, schedule.crop, schedule.crop, 3))
    numbers = np.arange(schedule.batch_size, dtype=np.int32)
    batch = crops.Batch(numbers, pixels.astype(np.uint8))
    Trainer(network_config, schedule).run(iter([batch]), 1)


def refine(model: zoo.Model, side: int) -> None:
    """One iteration of the refinement of an image of noise."""
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    encoder.encode(model, image, EncodeOptions(50.0, plan=Plan("uniform-16", refinements=1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="mini", help="of a portable network")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=2)
    options = parser.parse_args()
    config = presets.PRESETS[options.preset]()
    if not isinstance(config, PortableConfig):
        parser.error(f"{options.preset} is no portable network")
    schedule = training_config.TrainingConfig(batch_size=options.batch_size, crop=options.crop)
    durations = Durations()
    print(f"{options.preset:<12}" + "".join(f"{name:>9}" for name in STAGES.values()))
    params = _measured(durations, "parameters", lambda: start(config, schedule))
    with tempfile.TemporaryDirectory() as folder:
        model = zoo.load(zoo.save(Path(folder), options.preset, config, params, {}))
    _measured(durations, "training", lambda: train(config, schedule))
    _measured(durations, "refinement", lambda: refine(model, options.crop))


def _measured(durations: Durations, name: str, work: Callable[[], Any]) -> Any:
    """What some work returns; prints what it took."""
    durations.clear()
    result = work()
    seconds = "".join(f"{stage:9.1f}" for stage in durations.by_stage())
    print(f"{name:<12}{seconds}", flush=True)
    return result


if __name__ == "__main__":
    main()
