"""How far latent refinement lowers J, by iterations, for shares of the noise and rates of Adam.

    python benchmarks/refinement.py FOLDER [--images 4] [--crop 256] [--model NAME]
        [--qualities 10 50 90] [--noise 0.5 1] [--rate 0.015 0.01] [--iterations 100]

`--noise` and `--rate` are lists of the same length, a setting each. J is that of real files of
crops from the middle of the images, the best so far. Its change is that of log J against the file
without a refinement, as a mean over images and qualities, in percent. Crops have to fit in one
tile. Processor seconds, per megapixel and iteration, are those of all work, with the files of every
check.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import images_of_folder
import jax
import numpy as np
from effort import middle

from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.entropy import soft_rounding
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder, refinement, refinement_step
from rdonet_jax.rdo.cost import make_file_cost
from rdonet_jax.rdo.encode_options import EncodeOptions


def costs(
    model: Model, image: np.ndarray, quality: float, iterations: int
) -> tuple[float, list[float]]:
    """J of the plain file, and after every check that of the file of the best latents."""
    options = EncodeOptions(quality, reconstruct=True)
    plain = encoder.encode(model, image, options)
    cost = make_file_cost(model, plain.prepared, plain.quality)
    problem, start = encoder.refinement_problem(model, plain, options)
    before = least = cost.of(plain.encoded)
    found = []
    for _, latents in refinement.stages(problem, start, iterations):
        least = min(least, cost.of(encoder.encode_given_latents(model, plain, options, latents)))
        found.append(least)
    return before, found


def main() -> None:
    parser = images_of_folder.parser(__doc__, 4, DEFAULT_MODEL)
    parser.add_argument("--crop", type=int, default=256, help="side of the crops in pixels")
    parser.add_argument("--qualities", type=float, nargs="+", default=[10.0, 50.0, 90.0])
    parser.add_argument("--noise", type=float, nargs="+", default=[soft_rounding.NOISE])
    parser.add_argument("--rate", type=float, nargs="+", default=[refinement_step.RATE])
    parser.add_argument("--iterations", type=int, default=100)
    options = parser.parse_args()
    if options.iterations % refinement.CHECK_EVERY:
        parser.error(f"iterations are a multiple of {refinement.CHECK_EVERY}")
    if len(options.noise) != len(options.rate):
        parser.error("--noise and --rate have as many values each")
    loaded = list(images_of_folder.named_images(options).values())
    images = [middle(image, options.crop) for image in loaded[: options.images]]
    model = ModelLibrary().load(options.model)
    checks = range(refinement.CHECK_EVERY, options.iterations + 1, refinement.CHECK_EVERY)
    print("noise   rate  s/MP" + "".join(f"{check:>8}" for check in checks))
    for noise, rate in zip(options.noise, options.rate, strict=True):
        soft_rounding.NOISE, refinement_step.RATE = noise, rate
        jax.clear_caches()  # of functions compiled with other settings
        setting(model, images, options.qualities, options.iterations, f"{noise:>5}{rate:>7}")


def setting(
    model: Model,
    images: Sequence[np.ndarray],
    qualities: Sequence[float],
    iterations: int,
    name: str,
) -> None:
    """Prints a row of the table."""
    costs(model, images[0], qualities[0], 1)  # compiles
    began = time.process_time()
    changes = []
    for image in images:
        for quality in qualities:
            before, found = costs(model, image, quality, iterations)
            changes.append(100 * np.log(np.array(found) / before))
    pixels = sum(image[..., 0].size for image in images) * len(qualities)
    seconds = (time.process_time() - began) / (pixels / 1e6) / iterations
    row = "".join(f"{change:>+8.2f}" for change in np.mean(changes, axis=0))
    print(f"{name}{seconds:>6.1f}{row}", flush=True)


if __name__ == "__main__":
    main()
