"""Draws folders of screenshots for fine-tuning: `train`, `valid` and `test`, from one seed.

python -m experiments.fine_tuning screenshots
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.fine_tuning import screenshots

COUNTS = {"train": 120, "valid": 12, "test": 12}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the folders; they must not exist")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for number, (name, count) in enumerate(COUNTS.items()):
        try:
            screenshots.write(options.out / name, count, 3 * options.seed + number)
        except OSError as error:
            print(f"{options.out / name}: {error.strerror}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
