"""A target for coverage-guided fuzzing of the decoder, with Atheris (`pip install '.[fuzz]'`).

    python -m tests.fuzzing.coverage_guided FOLDER tests/fuzzing/corpus -max_total_time=3600

Inputs that reach new code are kept in FOLDER, which is filled with valid files if it is empty.
Those of the other folder are tried first. Any exception but `FormatError` ends the run, as does an
input of more than 600 s. The model is that of the golden files, computed by NumPy. With `-merge=1`,
those of later folders that reach new code are copied to FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rdonet_jax"]):
    from rdonet_jax.models import zoo
    from tests.fuzzing import compressed_files, subjects

SIZES = ((1, 1), (64, 64), (70, 30))
ENGINE = "numpy"


def main() -> None:
    """The command line, which is that of libFuzzer."""
    model = zoo.load(subjects.mini_weights())
    files = compressed_files.valid_files(model, SIZES)
    compressed_files.decode_all(model, files, ENGINE)
    if not any(word.startswith("-merge") for word in sys.argv):
        _fill(Path(sys.argv[1]), files)

    def decode(data: bytes) -> None:
        compressed_files.outcome(model, data, ENGINE)
        # As it is, nearly every input would fail by its checksum.
        compressed_files.outcome(model, compressed_files.sealed(data), ENGINE)

    # libFuzzer starts itself again to merge, by the name under which it was called.
    program = f"{sys.executable} -m tests.fuzzing.coverage_guided"
    atheris.Setup([program, *sys.argv[1:], "-timeout=600"], decode)
    atheris.Fuzz()


def _fill(folder: Path, files: list[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        for number, data in enumerate(files):
            (folder / f"valid{number}").write_bytes(data)


if __name__ == "__main__":
    main()
