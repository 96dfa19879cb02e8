"""A target for coverage-guided fuzzing of the decoder, with Atheris (`pip install '.[fuzz]'`).

    python -m tests.fuzz_decode FOLDER -max_total_time=3600

Inputs that reach new code are kept in FOLDER, which is filled with valid files if it is empty. Any
exception but `FormatError` ends the run, as does an input of more than 2 s. The weights are those
of the mini preset, as they are drawn.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rdonet_jax"]):
    from rdonet_jax.core import presets
    from rdonet_jax.models import zoo

from tests import mutations
from tests.portable_params import mini_parameters


def main() -> None:
    preset = presets.mini()
    with tempfile.TemporaryDirectory() as folder:
        path = zoo.save(Path(folder), "mini", preset, mini_parameters(preset), {"preset": "mini"})
        model = zoo.load(str(path))
    files = mutations.valid_files(model)
    mutations.decode_all(model, files)
    _fill(Path(sys.argv[1]), files)

    def decode(data: bytes) -> None:
        mutations.outcome(model, data)
        # As it is, nearly every input would fail by its checksum.
        mutations.outcome(model, mutations.sealed(data))

    atheris.Setup([*sys.argv, "-timeout=2"], decode)
    atheris.Fuzz()


def _fill(folder: Path, files: list[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        for number, data in enumerate(files):
            (folder / f"valid{number}").write_bytes(data)


if __name__ == "__main__":
    main()
