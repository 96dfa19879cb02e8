"""Evaluate a model on folders of pictures: rate, PSNR, MS-SSIM and times of real files.

python eval.py --data DIR [DIR ...] --model NAME|PATH [--quality Q ...] [--rdo N] [-o OUT.json]
python eval.py --data DIR [DIR ...] --model NAME|PATH --estimate
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rdonet_jax import codec, coder, evaluation, images, pictures, rdo, results, zoo


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="eval.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", required=True, help="folders of pictures")
    parser.add_argument("--model", required=True, help="name of a bundled model, or weights file")
    parser.add_argument(
        "--rdo", type=int, choices=(0, 1, 2), default=0,
        help="passes of a search for the partition that costs least (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--init", "--mask", default="variance", choices=rdo.INITS,
        help="which level codes which block, or where the search for it starts",
    )  # fmt: skip
    parser.add_argument(
        "--quality", nargs="+", type=float, metavar="Q", default=[None],
        help="one or more qualities, 0 to 100, of a model that has all (default: 50)",
    )  # fmt: skip
    parser.add_argument(
        "--estimate", action="store_true", help="estimate the rate in batches, write no files"
    )
    parser.add_argument(
        "--batch-size", type=int, default=evaluation.BATCH_SIZE, help="of the estimate"
    )
    parser.add_argument("--per-image", action="store_true", help="show every picture's results")
    parser.add_argument("-o", "--output", type=Path, help="JSON file in CompressAI's schema")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the compressed files here")
    parser.add_argument(
        "--save-decoded", type=Path, metavar="DIR", help="write the decoded pictures here"
    )
    parser.add_argument(
        "--coder", default=codec.DEFAULT_CODER, choices=coder.CODERS, help="range coder of files"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    return parser.parse_args(arguments)


def evaluate(options: argparse.Namespace) -> None:
    """Prints a table for each quality and writes the results file."""
    if options.output:
        images.check_target(options.output, options.force)
    model = zoo.load(options.model)
    points = []
    for quality in options.quality:
        settings = evaluation.Settings(
            rdo.Plan(options.init, options.rdo),
            quality,
            options.estimate,
            options.batch_size,
            _of_quality(options.keep, options.quality, quality),
            _of_quality(options.save_decoded, options.quality, quality),
            options.force,
            options.coder,
        )
        rows = evaluation.evaluate(model, options.data, settings)
        description = evaluation.description(model, rows, settings)
        print(f"{model.name}: {description}")
        print(results.table(rows, options.per_image), flush=True)
        points.append(results.to_json(model.name, description, rows, options.per_image))
    if options.output:
        values = results.joined(points, options.quality)
        results.write_json(options.output, values, options.force)


def _of_quality(folder: Path | None, qualities: list[float], quality: float) -> Path | None:
    """The folder itself, or one inside it for each of several qualities."""
    return folder / f"{quality:g}" if folder and len(qualities) > 1 else folder


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 1 after one line that says what is wrong."""
    try:
        evaluate(parse(arguments))
    except (
        codec.EncodeError,
        evaluation.EvaluationError,
        images.ImageError,
        pictures.PictureError,
        zoo.ZooError,
    ) as error:
        print(f"eval.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
