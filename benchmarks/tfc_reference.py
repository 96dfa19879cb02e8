"""Makes reference values for the tests: bits by the entropy models of TensorFlow Compression.

    python benchmarks/tfc_reference.py [-o tests/reference/tfc_bits.json]

installs the full package, 2.14.1, in a separate environment, evaluates its entropy models with our
scale tables (`tfc_bits.py`), stores the results, and prints our deviation from them. Needs Python
3.11 or older.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from environments import TENSORFLOW_COMPRESSION, default_folder, install

from rdonet_jax.entropy import distributions, likelihoods

WORKER = Path(__file__).with_name("tfc_bits.py")


def reference(environment: Path) -> dict:
    """What `tfc_bits.py` prints for our scale tables."""
    install(environment, TENSORFLOW_COMPRESSION)
    tables = {
        name: distributions.scale_table(name).tolist() for name in distributions.DISTRIBUTIONS
    }
    with tempfile.TemporaryDirectory() as folder:
        scales = Path(folder) / "scales.json"
        scales.write_text(json.dumps(tables))
        done = subprocess.run(
            [environment / "bin" / "python", "-W", "ignore", WORKER, scales],
            check=True,
            stdout=subprocess.PIPE,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            text=True,
        )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--environment", type=Path, default=default_folder(TENSORFLOW_COMPRESSION))
    options = parser.parse_args()
    numbers = reference(options.environment)
    print(", ".join(f"{name} {version}" for name, version in numbers["versions"].items()))
    for distribution, models in numbers["bits"].items():
        for name, rows in models.items():
            index, value, bits = (np.array(rows[key]) for key in ("index", "value", "bits"))
            scale = distributions.scale_table(distribution)[index]
            ours = np.asarray(likelihoods.bits(value.astype(np.float32), scale, distribution))
            off = np.abs(ours - bits)
            some, total = bits > 0.001, ours.sum() / bits.sum() - 1
            print(
                f"{distribution:<10}{name:<26}{len(bits)} values, sum {total:+.1e}"
                f", each within {(off / bits)[some].max():.1e}"
                f" or, below 0.001 bits, {off[~some].max():.1e} bits"
            )
    if options.output:
        options.output.write_text(json.dumps(numbers).replace('], "', '],\n"') + "\n")


if __name__ == "__main__":
    main()
