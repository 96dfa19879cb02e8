"""The scripts for clusters start a training that its command line accepts, for every preset."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest

from rdonet_jax.cli.commands import train
from rdonet_jax.core import presets
from rdonet_jax.models import registry
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not shutil.which("bash"), reason="needs bash"),
]


@pytest.fixture
def command(tmp_path):
    """The arguments of `rdonet train` that a script runs for a preset."""
    log = tmp_path / "log"
    for name in ("srun", "gcloud"):
        program = tmp_path / name
        program.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "$@" >> {log}\n')
        program.chmod(0o755)

    def command(script: str, preset: str) -> list[str]:
        log.unlink(missing_ok=True)
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}", "PRESET": preset, "DATA": "data",
            "VALID": "valid", "RUN": "run", "SLURM_CPUS_PER_TASK": "1", "TPU": "tpu",
            "ZONE": "zone", "PACKAGE": "package",
        }  # fmt: skip
        subprocess.run(["bash", str(ROOT / "examples" / script)], env=environment, check=True)
        words = [word for line in log.read_text().splitlines() for word in shlex.split(line)]
        return words[words.index("train", words.index("--distributed") - 1) + 1 :]

    return command


@pytest.mark.parametrize("script", ["slurm_train.sh", "tpu_train.sh"])
@pytest.mark.parametrize("preset", presets.PRESETS)
def test_a_script_resumes_or_begins_and_lets_priors_learn_faster_where_there_are_any(
    command, script, preset
):
    options, settings = train.parse(command(script, preset), "rdonet train")
    assert (options.resume, settings.preset, options.data) == ("auto", preset, ["data"])
    has_priors = registry.family_of(settings.model).has_separate_priors
    assert settings.training.prior_rate == (10 if has_priors else 1)
