"""Speed of the range coders, and how far their bytes exceed the information content.

    python benchmarks/coder_speed.py [--symbols 300000] [--coder constriction tfc]

Every row codes Laplace symbols with continuous scales b, as a network predicts them. The excess
over the information content at these scales includes the losses by scale tables, 16-bit
probabilities, escapes and the coder. The scales of the first rows vary by 10 % around one b. The
last rows mix scales as images do, in long and in short runs.
"""

import argparse
import time

import numpy as np

from rdonet_jax.entropy import distributions, likelihoods, range_coder
from rdonet_jax.entropy.runs import Run

SCALES = (0.06, 0.1, 0.3, 1.0, 3.0, 20.0, 100.0)
MIXED = (0.25, 4.0)  # median and spread (as a factor) of the scales of the last rows
RUN_LENGTHS = (1_000_000_000, 10_000, 500)
REPEATS = 25


def sample(count: int, median: float, spread: float, run: int) -> tuple[list[Run], float]:
    """Runs of at most `run` symbols and the information content of all of them in bits."""
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(np.log(median), np.log(spread), count)).astype(np.float32)
    scale = scale.clip(distributions.scale_table("laplace")[0])
    symbols = np.rint(rng.laplace(0, scale)).astype(np.int32)
    indices = np.asarray(likelihoods.scale_index(scale, "laplace"))
    bits = likelihoods.bits(symbols.astype(np.float32), scale, "laplace")
    cuts = range(run, count, run)
    runs = zip(np.split(symbols, cuts), np.split(indices, cuts), strict=True)
    return list(runs), float(np.asarray(bits, np.float64).sum())


def measure(runs: list[Run], name: str) -> tuple[bytes, float, float]:
    """The bytes, and the best encoding and decoding time in seconds."""
    tables = distributions.scale_tables("laplace")
    encoding, decoding = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        data = range_coder.encode(runs, tables, name)
        encoded = time.perf_counter()
        take = range_coder.decoder(data, tables, name)
        decoded = [take(indices) for _, indices in runs]
        encoding.append(encoded - start)
        decoding.append(time.perf_counter() - encoded)
    if not all(map(np.array_equal, decoded, (symbols for symbols, _ in runs))):
        raise SystemExit(f"{name} did not decode what it encoded")
    return data, min(encoding), min(decoding)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--symbols", type=int, default=300_000, help="symbols per row")
    parser.add_argument("--coder", nargs="+", choices=range_coder.CODERS, default=["constriction"])
    arguments = parser.parse_args()
    count = arguments.symbols
    header = ("scales", "run", "bits/symbol", "coder", "bytes", "excess", "encode", "decode")
    print("{:>12} {:>10} {:>12} {:>12} {:>9} {:>9} {:>10} {:>10}".format(*header))
    rows = [(f"b = {b:g}", b, 1.1, count) for b in SCALES]
    rows += [("mixed", *MIXED, min(run, count)) for run in RUN_LENGTHS]
    for label, median, spread, run in rows:
        runs, bits = sample(count, median, spread, run)
        for name in arguments.coder:
            data, encoding, decoding = measure(runs, name)
            print(
                f"{label:>12} {run:10d} {bits / count:12.4f} {name:>12} {len(data):9d} "
                f"{8 * len(data) / bits - 1:9.3%} "
                f"{encoding / count * 1e9:7.1f} ns {decoding / count * 1e9:7.1f} ns"
            )


if __name__ == "__main__":
    main()
