"""Files on a Ray cluster of two workers on this machine, one of which is lost in the middle."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.cli.commands import coding_commands
from rdonet_jax.cli.commands.compress import CompressOptions
from rdonet_jax.cli.errors import CommandError
from rdonet_jax.cli.files import batch, cluster, jobs
from rdonet_jax.codec import bitstream

pytestmark = pytest.mark.slow

FILES = 12


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine, with two cores for workers."""
    pytest.importorskip("ray.data", reason="Ray is not installed (extra ray)")
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "300")  # on a machine that others share
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8
        )
        yield ray
        ray.shutdown()


@pytest.fixture
def album(folder):
    """Small images, all of another size."""
    Path("album/below").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(FILES):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        place = "album/below" if number % 2 else "album"
        coarse.resize((70 + number, 50), Image.Resampling.BICUBIC).save(f"{place}/{number:02}.png")
    return folder


def whole(place: str) -> set[str]:
    """The names of the files in a folder, each of which is a whole compressed file."""
    paths = [path for path in Path(place).rglob("[!.]*") if path.is_file()]
    for path in paths:
        bitstream.parse(path.read_bytes())
    return {path.relative_to(place).as_posix() for path in paths}


def results(kind: type, outcomes: list) -> list[str]:
    """The names of the files of which this came, in order."""
    jobs_of = [one[0] if kind is tuple else one.job for one in outcomes if type(one) is kind]
    return sorted(Path(job.source).name for job in jobs_of)


def losing_once(compress, marker: Path, lost: str):
    """Work whose first worker at the file `lost` is killed when it is about to give its result its
    name."""

    def killed(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def work(source, target, *more):
        if Path(str(source)).name == lost and not marker.exists():
            marker.touch()
            os.replace = killed
        return compress(source, target, *more)

    return work


def test_a_worker_that_is_killed_costs_no_file_and_leaves_none_half_written(
    ray, album, mini_weights
):
    compress = coding_commands.compression(CompressOptions(model=str(mini_weights)))
    work = losing_once(compress, album / "killed", "05.png")
    found = jobs.compressions(["album"], "out")
    outcomes = list(cluster.outcomes(found.jobs, work, False, cluster.connect(None))(lambda: False))
    assert (album / "killed").exists()
    names = [Path(job.source).name for job in found.jobs]
    made, there = (results(kind, outcomes) for kind in (tuple, batch.Skipped))
    assert sorted([*made, *there]) == sorted(names) and len(names) == FILES
    assert "05.png" in made
    assert whole("out") == {f"{Path(job.target).relative_to('out')}" for job in found.jobs}
    # Without Ray the files would be the same.
    job, result = next(one for one in outcomes if type(one) is tuple)
    Path("alone").mkdir()
    compress(job.source, "alone/a.rdo", cluster.ModelLibrary(), False)
    assert Path(job.target).read_bytes() == Path("alone/a.rdo").read_bytes()
    assert result.byte_count == len(Path(job.target).read_bytes())


def test_a_file_that_no_worker_survives_fails_alone(ray, album, mini_weights):
    compress = coding_commands.compression(CompressOptions(model=str(mini_weights)))

    def work(source, *more):
        if Path(str(source)).name == "04.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return compress(source, *more)

    found = jobs.compressions(["album"], "out")
    outcomes = list(cluster.outcomes(found.jobs, work, False, cluster.connect(None))(lambda: False))
    assert len(outcomes) == FILES == len(whole("out")) + 1
    assert results(batch.Failed, outcomes) == ["04.png"]
    (failure,) = (one for one in outcomes if type(one) is batch.Failed)
    assert failure.cause.startswith("album/04.png: every worker that worked on it was lost")


def test_the_command_works_on_a_cluster_and_goes_on_where_it_was(ray, album, rdonet, mini_weights):
    Path("album/bad.png").write_bytes(b"none")
    line = ["compress", "album", "--out-dir", "out", "--model", mini_weights, "--ray", "auto"]
    code, out, err = rdonet(*line, "--json")
    *lines, summary = map(json.loads, out.splitlines())
    assert code == 1 and err.startswith("rdonet: album/bad.png: ") and err.count("\n") == 1
    assert len(lines) == FILES + 1 and sum("error" in line for line in lines) == 1
    assert (summary["summary"]["done"], summary["summary"]["failed"]) == (FILES, 1)
    assert len(whole("out")) == FILES
    Path("album/bad.png").unlink()
    next(Path("out").glob("*.rdo")).unlink()
    code, out, err = rdonet(*line, "-j", "1")
    assert (code, err) == (0, "") and out.startswith(f"1 file, {FILES - 1} were there already, ")
    back = ["decompress", "out", "--out-dir", "back", "--model", mini_weights, "--ray", "auto"]
    code, out, err = rdonet(*back)
    assert (code, err) == (0, "") and out.startswith(f"{FILES} files, ")
    assert Image.open("back/below/01.png").size == (71, 50)


def test_datasets_have_a_row_for_every_file(ray, album, mini_weights):
    from rdonet_jax.ray import (
        CompressOptions,
        DecompressOptions,
        compress_dataset,
        decompress_dataset,
    )

    Path("album/bad.png").write_bytes(b"none")
    url = f"file://{album}/out"
    options = CompressOptions(model=str(mini_weights), quality=30)
    rows = compress_dataset([f"file://{album}/album"], url, options).take_all()
    assert len(rows) == FILES + 1
    made = [row for row in rows if row["status"] == "made"]
    assert len(made) == FILES
    (failed,) = (row for row in rows if row["status"] == "failed")
    assert failed["error"].startswith(f"file://{album}/album/bad.png: is damaged")
    assert failed["bytes"] is None
    row = next(row for row in made if row["input"].endswith("below/03.png"))
    assert row["output"] == f"{url}/below/03.png.rdo" and (row["width"], row["height"]) == (73, 50)
    assert row["bytes"] == Path("out/below/03.png.rdo").stat().st_size
    Path("out/02.png.rdo").unlink()
    Path("album/bad.png").unlink()
    again = compress_dataset(f"file://{album}/album", url, options).take_all()
    assert sorted(row["status"] for row in again) == ["made"] + ["there"] * (FILES - 1)
    back = decompress_dataset(
        url, Path("back"), DecompressOptions(model=str(mini_weights)), suffix=".webp", workers=1
    )
    assert back.count() == FILES and Image.open("back/02.png.webp").size == (72, 50)


def test_what_is_in_the_memory_of_one_process_is_refused(ray):
    jobs_there = [jobs.Job("memory://a/b.png", "c.rdo")]
    with pytest.raises(CommandError, match="memory://a/b.png: is in the memory of this process"):
        cluster.outcomes(jobs_there, lambda *_: None, False, cluster.connect(None))


def test_an_address_where_nothing_answers_is_a_sentence(rdonet, monkeypatch):
    pytest.importorskip("ray.data", reason="Ray is not installed (extra ray)")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    code, out, err = rdonet("compress", "a.png", "--out-dir", "out", "--ray", "127.0.0.1:9")
    assert (code, out) == (1, "") and not Path("out").exists()
    assert err.startswith("rdonet: 127.0.0.1:9: no Ray cluster can be reached (") and (
        err.count("\n") == 1
    )


def test_without_ray_the_option_says_what_to_install(refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    text = refusal(
        "Ray or a package that it needs is not installed (ray)",
        "compress", "a.png", "--out-dir", "out", "--ray", "auto",
    )  # fmt: skip
    assert text == "pip install 'rdonet-jax[ray]'"


def test_the_option_goes_with_an_output_folder(rdonet):
    code, _, err = rdonet("compress", "a.png", "--ray", "auto")
    assert code == 2 and "--list, --jobs, --ray and --shard go with --out-dir" in err
