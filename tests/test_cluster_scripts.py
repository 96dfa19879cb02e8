"""The scripts for clusters start a training that its command line accepts, for every preset."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

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


TRAINING = """#!/usr/bin/env bash
trap 'touch checkpoint; exit 0' TERM
echo $$ > new && mv new training
if [[ -n ${FAILS:-} ]]; then exit "$FAILS"; fi
while sleep 0.1; do :; done
"""
"""A training that stops with a checkpoint at SIGTERM, or fails at once."""

SRUN = """#!/usr/bin/env bash
trap 'kill -KILL $task' TERM
bash training.sh &
task=$!
code=0
wait $task || code=$?
if ((code > 128)); then wait $task || code=$?; fi
exit $code
"""
"""`srun`, which answers SIGTERM with SIGKILL to its tasks and ends as they do."""

SCANCEL = """#!/usr/bin/env bash
[[ $* == "--signal=TERM 17" ]] || exit 64
kill -TERM "$(cat training)"
"""
"""`scancel`, which signals the tasks of a job and neither srun nor the batch script."""

SCONTROL = """#!/usr/bin/env bash
echo "$@" > requeued
"""

LIMIT = 120
"""Seconds after which a script that should have come further counts as stuck."""


@pytest.fixture
def job(tmp_path):
    """Starts slurm_train.sh as job 17 on a stand-in for a cluster, in `tmp_path`."""
    (tmp_path / "training.sh").write_text(TRAINING)
    for name, text in {"srun": SRUN, "scancel": SCANCEL, "scontrol": SCONTROL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    started: list[subprocess.Popen] = []

    def job(**more: str) -> subprocess.Popen:
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}", "DATA": "data", "VALID": "valid",
            "RUN": "run", "SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_ID": "17", **more,
        }  # fmt: skip
        script = ["bash", str(ROOT / "examples" / "slurm_train.sh")]
        started.append(
            subprocess.Popen(script, cwd=tmp_path, env=environment, start_new_session=True)
        )
        return started[-1]

    yield job
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_there(path: Path) -> None:
    limit = time.monotonic() + LIMIT
    while not path.exists():
        assert time.monotonic() < limit, f"{path} has not come"
        time.sleep(0.02)


def test_a_slurm_job_whose_time_is_over_leaves_a_checkpoint_and_queues_itself_again(job, tmp_path):
    process = job()
    wait_until_there(tmp_path / "training")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 0
    assert (tmp_path / "checkpoint").exists()
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"


def test_a_slurm_job_that_fails_ends_with_the_code_of_the_training(job, tmp_path):
    assert job(FAILS="3").wait(LIMIT) == 3
    assert not (tmp_path / "requeued").exists()
