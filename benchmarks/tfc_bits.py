"""Bits by the entropy models of TensorFlow Compression, for `tfc_reference.py`.

    python benchmarks/tfc_bits.py SCALES.json

runs in a separate environment with the full package. SCALES.json has the scale table of every
distribution. It prints a line of JSON: for each distribution and entropy model, lists of table
indices, values and the bits of each value.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

PRIORS = {"laplace": tfc.NoisyLaplace, "gaussian": tfc.NoisyNormal}
REACH = {"laplace": (0, 0.3, 1, 2, 5, 12), "gaussian": (0, 0.3, 0.7, 1.2, 2, 4)}
"""Values before rounding, in multiples of the scale."""


def values_of(scales: np.ndarray, reach: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Table indices and float32 values: a few for every scale, with alternating signs."""
    index = np.repeat(np.arange(len(scales)), len(reach))
    side = np.where(np.arange(len(index)) % 2, 1, -1)
    return index, (side * scales[index] * np.tile(reach, len(scales))).astype(np.float32)


def models(prior, scales: np.ndarray) -> dict:
    """Functions (values, indices) -> (values after rounding or noise, their bits), by name."""

    def scale_of(index):
        return tf.gather(tf.constant(scales), tf.cast(index, tf.int32))

    parameters = {"loc": lambda _: 0.0, "scale": lambda index: scale_of(index[..., 0])}
    continuous = tfc.ContinuousIndexedEntropyModel(prior, (len(scales),), parameters, 0)
    universal = tfc.UniversalIndexedEntropyModel(prior, (len(scales),), parameters, 1)

    def universal_bits(values, index):
        perturbed, bits = universal(values[:, None], index[:, None, None], training=False)
        return perturbed[:, 0], bits

    return {
        "ContinuousIndexed": lambda v, i: continuous(v, i[:, None], training=False),
        "ContinuousIndexed, noise": lambda v, i: continuous(v, i[:, None], training=True),
        "UniversalIndexed": universal_bits,
    }


def main() -> None:
    tf.random.set_seed(0)
    reference = {}
    for distribution, table in json.loads(Path(sys.argv[1]).read_text()).items():
        scales = np.array(table, np.float32)
        index, values = values_of(scales, REACH[distribution])
        reference[distribution] = {}
        for name, function in models(PRIORS[distribution], scales).items():
            perturbed, bits = (np.asarray(a, np.float64) for a in function(values, index))
            reference[distribution][name] = {
                "index": index.tolist(),
                "value": [float(f"{v:.9g}") for v in perturbed],
                "bits": [float(f"{b:.7g}") for b in bits],
            }
    versions = {name: version(name) for name in ("tensorflow", "tensorflow-compression")}
    print(json.dumps({"versions": versions, "bits": reference}))


if __name__ == "__main__":
    main()
