"""Pack folders of images into shards for training, or make the index of tar files that exist.

{program} pack [--kind array_record|tar] DIR [DIR ...] OUT
{program} index DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rdonet_jax.cli import output
from rdonet_jax.cli.options import argument_types
from rdonet_jax.cli.program import Parser, exit_code
from rdonet_jax.imaging import dataset, shard_writer, shards
from rdonet_jax.storage import urls

EXPECTED_ERRORS = (dataset.DatasetError, shards.ShardError)


def main(arguments: Sequence[str], program: str = "rdonet data") -> int:
    """The exit code: 0, or after one line that says what is wrong 1, 2 for wrong usage, 130 after
    Ctrl-C."""
    output.show_warnings(program)

    def work() -> int:
        options = _parse(arguments, program)
        if options.action == "index":
            index = shard_writer.index_tars(options.folder)
        else:
            index = shard_writer.pack(
                options.folders, urls.parsed(options.out), options.kind, options.shard_size
            )
        output.say(f"{len(index.names)} images in {len(index.files)} shards, kind {index.kind}")
        return 0

    return exit_code(work, EXPECTED_ERRORS, program)


def _parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    parser = Parser(
        prog=program,
        description=(__doc__ or "").format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    pack = actions.add_parser("pack", help="pack folders of images into shards")
    pack.add_argument(
        "folders", nargs="+", metavar="DIR",
        help="folders of images, URLs, or tfds:NAME[:SPLIT] and hf:NAME[:SPLIT]",
    )  # fmt: skip
    pack.add_argument("out", metavar="OUT", help="folder of the shards, or a URL")
    pack.add_argument(
        "--kind", choices=shards.KINDS, default=shards.ARRAY_RECORD,
        help="of the shards; tar can be read from URLs (default: %(default)s)",
    )  # fmt: skip
    pack.add_argument(
        "--shard-size", metavar="BYTES", type=argument_types.byte_count,
        default=shard_writer.SHARD_BYTES, help="least size of a shard (default: 256MiB)",
    )  # fmt: skip
    index = actions.add_parser("index", help="make the index of the tar files in a folder")
    index.add_argument(
        "folder", metavar="DIR", type=argument_types.local_path, help="folder of tar files"
    )
    return parser.parse_args(arguments)
