"""Reference coders with real files: round trips, estimates, hostile files, refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.cli.commands import describe
from rdonet_jax.cli.commands import eval as eval_command
from rdonet_jax.codec import bitstream, codec, compressed_file, partition_coding
from rdonet_jax.codec.bitstream import FormatError
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import partition, presets
from rdonet_jax.evaluation import estimate as evaluation_estimate
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo
from rdonet_jax.models.baselines import context
from rdonet_jax.models.baselines import init as baselines_init
from rdonet_jax.models.baselines import network as baselines
from rdonet_jax.rdo import encoder
from rdonet_jax.rdo.encode_options import EncodeOptions
from tests import compiled
from tests.codec.test_codec import assert_same_symbols, relabelled
from tests.conftest import COMPILING_ANEW, ROOT, quick_key

pytestmark = pytest.mark.slow

KINDS = ("context", "hyperprior", "factorised")
LMBDA = 0.0067


@pytest.fixture(scope="module", params=KINDS)
def weights(request, tmp_path_factory):
    """A weights file of a tiny coder of each kind, which codes real images, if badly."""
    preset = presets.mbt2018_tiny(kind=request.param)
    params = baselines.init_params(preset, quick_key(0))
    params = baselines_init.linear_start(params, preset, LMBDA)
    params = jax.tree_util.tree_map(np.array, params)
    if preset.kind != "factorised":
        params["hyper_encoder"]["third"]["kernel"] *= 3  # hyper-latents that say something
    if preset.kind == "context":
        params["context"]["convolution"]["kernel"] *= 20  # and neighbors that do
    return zoo.save(tmp_path_factory.mktemp("reference"), "reference", preset, params, {})


@pytest.fixture(scope="module")
def model(weights):
    return zoo.load(str(weights))


@pytest.fixture(scope="module")
def encoded(model, photograph):
    image = photograph[:150, :200]
    p = codec.choose_partition(model, image, "variance")
    return image, p, codec.encode(model, image, p)


def test_the_decoder_gets_the_encoders_symbols_and_image_bit_for_bit(model, encoded):
    image, p, sent = encoded
    decoded = codec.decode(model, sent.data)
    assert_same_symbols(decoded, sent)
    np.testing.assert_array_equal(decoded.image, sent.image)
    for theirs, ours in zip(decoded.partition, p, strict=True):
        np.testing.assert_array_equal(theirs, ours)
    assert np.mean((decoded.image.astype(float) - image) ** 2) < 0.2 * np.var(image)


def test_every_symbol_lies_in_the_section_of_the_finest_level(model, encoded):
    image, _, sent = encoded
    _, sections = bitstream.parse(sent.data)
    assert sections.level0 and not sections.level1 and not sections.level2
    assert len(sections.partition) <= 2
    rows, columns = -(-image.shape[0] // 16), -(-image.shape[1] // 16)
    latents = rows * columns * model.config.latents
    has_z = model.config.kind != "factorised"
    assert sum(run.size for run in sent.symbols[0][has_z:]) == latents
    assert sum(run.size for run in sent.symbols[0][:has_z]) == has_z * 3 * 4 * model.config.hyper
    if model.config.kind == "context":
        assert len(sent.symbols[0]) == 1 + context.wavefront_count((12, 16))


def test_a_file_is_as_large_as_the_estimate_says_and_shows_its_image(model, encoded):
    image, p, sent = encoded
    estimate = evaluation_estimate.estimate_image(model, image, p)
    _, sections = bitstream.parse(sent.data)
    assert len(sections.level0) == pytest.approx(estimate.bits / 8, rel=0.005, abs=4)
    difference = np.abs(sent.image.astype(int) - estimate.decoded)
    assert difference.max() <= 1 and np.mean(difference > 0) < 0.01


@pytest.mark.parametrize("weights", ["context"], indirect=True)
def test_a_fresh_process_decodes_the_image_that_the_encoder_saw(encoded, weights, tmp_path):
    _, _, sent = encoded
    (tmp_path / "a.rdo").write_bytes(sent.data)
    command = ["-m", "rdonet_jax", "decompress", "a.rdo", "a.png", "--model", str(weights)]
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | COMPILING_ANEW,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    np.testing.assert_array_equal(srgb.load(tmp_path / "a.png"), sent.image)


def test_compiled_steps_serve_all_images_of_one_padded_size(model, encoded, photograph):
    assert (before := compiled.counts())
    image = photograph[10:180, 5:215]
    sent = codec.encode(model, image, codec.choose_partition(model, image, "variance"))
    codec.decode(model, sent.data)
    assert compiled.counts() == before


def test_the_tables_of_a_weights_file_are_those_that_both_sides_use(model, weights, encoded):
    """Never those that floats would give anew: other weights, the same tables."""
    changed = jax.tree_util.tree_map(np.array, model.params)
    changed["factorised_prior"]["bias_0"] += 0.3
    _, _, sent = encoded
    decoded = codec.decode(model.replace(params=changed), sent.data)
    np.testing.assert_array_equal(decoded.image, sent.image)


def test_a_weights_file_without_its_tables_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "_table_tensors", lambda *_: {})
    path = zoo.save(tmp_path, "bare", model.config, model.params, {})
    with pytest.raises(zoo.ZooError, match="tables/cumulative is missing"):
        zoo.load(str(path))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_rewritten_sections_raise_one_type_of_exception_or_decode(model, encoded, data):
    header, sections = bitstream.parse(encoded[2].data)
    field = data.draw(st.sampled_from(bitstream.Sections._fields))
    content = data.draw(st.binary(max_size=40))
    try:
        codec.decode(model, bitstream.pack(header, sections._replace(**{field: content})))
    except FormatError as error:
        assert "\n" not in str(error)


def test_a_partition_with_other_levels_is_refused_by_both_sides(model, encoded):
    image, _, sent = encoded
    coarse = partition.uniform(2, partition.block_grid(*image.shape[:2]))
    with pytest.raises(EncodeError, match="reference has one level"):
        codec.encode(model, image, coarse)
    _, sections = bitstream.parse(sent.data)
    other = partition_coding.encode(coarse, *image.shape[:2])
    header, _ = bitstream.parse(sent.data)
    with pytest.raises(FormatError, match="levels that reference does not have"):
        codec.decode(model, bitstream.pack(header, sections._replace(partition=other)))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [({"quality": 0}, "names a quality"), ({"platform": ""}, "names no platform"),
     ({"symbols_crc": 1}, "not those that were encoded"), ({"weights": bytes(4)}, "the weights")],
)  # fmt: skip
def test_a_header_that_a_reference_coder_never_writes_is_refused(model, encoded, changes, cause):
    with pytest.raises(FormatError, match=cause):
        codec.decode(model, relabelled(encoded[2].data, **changes))


@pytest.mark.parametrize(
    "plan", [encoder.Plan(passes=1), encoder.Plan("static"), encoder.Plan("uniform-32")]
)
def test_a_mask_or_a_search_is_refused_in_one_sentence(model, photograph, plan):
    for call, argument in (
        (encoder.encode, EncodeOptions(plan=plan)),
        (encoder.choose, plan),
    ):
        with pytest.raises(EncodeError, match=r"^reference codes every block at one level"):
            call(model, photograph, argument)


def test_the_evaluation_script_refuses_a_search_before_any_work(weights, photograph_folder, capsys):
    arguments = ["--data", str(photograph_folder), "--model", str(weights)]
    for more in (["--rdo", "1"], ["--init", "uniform"], ["--estimate", "--init", "uniform-64"]):
        assert eval_command.main([*arguments, *more]) == 1
        error = capsys.readouterr().err
        assert error.startswith("rdonet eval: reference codes every block at one level")
        assert error.count("\n") == 1


@pytest.mark.parametrize("weights", ["hyperprior"], indirect=True)
def test_the_evaluation_script_writes_and_reads_real_files(weights, photograph, tmp_path, capsys):
    srgb.save(tmp_path / "a.png", photograph[:150, :200])
    out = tmp_path / "out.json"
    arguments = ["--data", str(tmp_path), "--model", str(weights), "-o", str(out)]
    assert eval_command.main(arguments) == 0
    result = json.loads(out.read_text())
    assert "one level" in result["description"]
    assert 0 < result["results"]["bpp"][0] < 2


def test_what_a_file_and_a_model_are_is_told(model, encoded):
    file = compressed_file.parse(encoded[2].data)
    lines = describe.of_file(file, describe.facts_of_file(file))
    assert lines[-1].startswith("16x16") and lines[-1].endswith("100.0%")
    assert describe.of_model(model)[0].startswith(f"hash {model.digest.hex()}")
