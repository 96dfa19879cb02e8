"""Weights files that somebody made to do harm: one sentence, little memory, and no other error."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as serialize

from rdonet_jax.core import config, json_values, presets
from rdonet_jax.models import registry, weights_file, zoo
from rdonet_jax.training.config import TrainingConfig

pytestmark = pytest.mark.once

MIB = 2**20

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["knots", "kind", "laplace", "context", "edge"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
BASES = [dataclasses.asdict(make()) for make in (presets.tiny, presets.mini, presets.mbt2018_tiny)]


@st.composite
def configurations(draw):
    """Those of presets with some fields in other values."""
    base = draw(st.sampled_from(BASES))
    changes = draw(st.dictionaries(st.sampled_from(sorted(base)), JSON, min_size=1, max_size=3))
    return base | changes


@settings(deadline=None)
@given(configurations() | JSON)
def test_any_json_is_a_configuration_with_bounded_sizes_or_refused(values):
    try:
        model = registry.from_stored(values)
    except config.ConfigError as error:
        assert len(str(error)) < 300
        return
    for name, hint in type(model).__annotations__.items():
        if "int" in str(hint) or "Triple" in str(hint):
            assert np.max(getattr(model, name)) <= config.MAX_CHANNELS


@pytest.mark.parametrize(
    ("base", "name", "value", "complaint"),
    [
        (presets.mini, "hidden", True, "hidden must be a whole number, not True"),
        (presets.mini, "hidden", 12.0, "hidden must be a whole number, not 12.0"),
        (
            presets.mini,
            "hidden",
            10**12,
            "hidden: channel counts must be positive and at most 4096",
        ),
        (presets.mini, "hidden", 10**4000, "hidden must be a whole number"),
        (presets.mini, "features", "abc", "features must be a list of 3 whole numbers, not 'abc'"),
        (presets.mini, "features", [1, 2], "features must be a list of 3 whole numbers"),
        (presets.mini, "features", [1, 2, "3"], "features must be a list of 3 whole numbers"),
        (presets.mini, "lmbdas", [0.1, math.nan], "lmbdas must be a list of 2 finite numbers"),
        (presets.mini, "lmbdas", [1e-300, 1.0], "lmbdas must be positive and rise"),
        (presets.mini, "thresholds", 3, "thresholds must be a list of lists of 2 finite numbers"),
        (presets.mini, "thresholds", [[1e308, 1e308]] * 6, "pairs of positive variances"),
        (presets.mini, "distribution", ["laplace"], "distribution must be a text"),
        (presets.mini, "knots", 513, "512 at most"),
        (presets.mini, "finish", 10**6, "finish counts channels"),
        (presets.tiny, "thresholds", [math.inf, 1.0], "thresholds must be a list of 2 finite"),
        (presets.tiny, "thresholds", [1e10, 1.0], "two variances from 0 to 1e.09"),
        (presets.tiny, "prior_hidden", 65, "prior_hidden is 65, more than 64"),
        (presets.tiny, "padding", "x" * 10**6, "padding must be 'edge' or 'zero'"),
        (presets.mbt2018_tiny, "trunk", [8] * 10**5, "trunk has two or three channel counts"),
        (presets.mbt2018_tiny, "kind", None, "kind must be a text, not None"),
    ],
)
def test_a_field_that_cannot_be_is_named(base, name, value, complaint):
    with pytest.raises(config.ConfigError, match=complaint) as caught:
        registry.from_stored(dataclasses.asdict(base()) | {name: value})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"resident": 1}, "resident must be true or false, not 1"),
        ({"start": None}, "start must be a text"),
        ({"lmbda": "big"}, "lmbda must be a finite number, not 'big'"),
        ({"lmbda": True}, "lmbda must be a finite number"),
        ({"lmbda": 10**400}, "lmbda must be a finite number"),
        ({"color": 1, "x" * 1000: 2}, "unknown TrainingConfig fields: color, xxx"),
        ([], r"a TrainingConfig is an object with named values, not \[\]"),
    ],
)
def test_training_options_are_judged_by_their_types(values, complaint):
    with pytest.raises(config.ConfigError, match=complaint) as caught:
        config.from_dict(TrainingConfig, values)
    assert len(str(caught.value)) < 300


def test_whole_numbers_are_numbers():
    assert json_values.find_error(TrainingConfig, {"lmbda": 8}) is None


# Whole files


def named(folder: Path, content: bytes) -> Path:
    """A file under the name that its hash asks for."""
    path = folder / f"evil-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    path.write_bytes(content)
    return path


def declared(folder, text, tensors=None) -> Path:
    """A file with these metadata and tensors."""
    return named(folder, serialize(tensors or {}, {weights_file.METADATA_KEY: text}))


def of(folder, tensors=None, **changes) -> Path:
    """The same, with metadata that are right but for `changes`."""
    values = {"name": "evil", "config": dataclasses.asdict(presets.mini()), "record": {}}
    return declared(folder, json.dumps(values | changes), tensors)


def refused(path: Path, cause: str) -> None:
    with pytest.raises(zoo.ZooError, match=cause) as caught:
        zoo.load(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and len(message.removeprefix(str(path))) < 400
    path.unlink()


same_folder = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@same_folder
@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda b: bytes([9]) + bytes(7) + b))
def test_bytes_at_random_are_no_weights(tmp_path, content):
    refused(named(tmp_path, content), "is no weights file of rdonet_jax")


@same_folder
@given(JSON.map(json.dumps) | st.text(max_size=20))
def test_metadata_at_random_make_no_model(tmp_path, text):
    refused(declared(tmp_path, text), "is no weights file of rdonet_jax")


@same_folder
@given(st.sampled_from(["name", "config", "record"]), JSON)
def test_metadata_with_an_entry_at_random_make_no_model(tmp_path, name, value):
    refused(of(tmp_path, **{name: value}), "is no weights file of rdonet_jax")


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


LOST = {"training": {"learn": "priors"}}


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"name": "../../etc/x"}, "a model of the name '../../etc/x', which no model may have"),
        ({"name": "\x1b[31m"}, r"a model of the name '\\x1b\[31m', which no"),
        ({"record": "x"}, "its record is an object with named values, not 'x'"),
        ({"record": None}, "its record is an object"),
        ({"record": {"is_16bit": nested(300)}}, "too many lists in lists"),
        ({"record": {"training": []}}, "training in its record is an object"),
        ({"record": {"training": {"lmbda": "x"}}}, "lmbda must be a finite number"),
        ({"record": {"training": {"lmbda": 1e-300}}}, "lmbda is 1e-300"),
        ({"record": {"training": {"ms_ssim_share": 2}}}, "ms_ssim_share is 2"),
        ({"record": LOST}, "does not say what the training started from"),
        ({"record": LOST | {"origin": {"started_from": 3}}}, "its record is an object"),
        ({"record": LOST | {"origin": {"started_from": LOST}}}, "does not say what"),
    ],
)
def test_what_a_file_says_of_itself_is_checked(tmp_path, changes, cause):
    refused(of(tmp_path, **changes), cause)


def test_a_record_may_lead_back_over_several_trainings(tmp_path):
    record = {"training": {"lmbda": 0.01, "of_another_version": [1]}}
    for _ in range(20):
        record = LOST | {"origin": {"started_from": record}}
    # What is missing is the network alone.
    refused(of(tmp_path, record=record), "does not hold the network of its configuration")


def test_metadata_nested_without_end_are_one_sentence(tmp_path):
    refused(declared(tmp_path, 300_000 * "[" + 300_000 * "]"), "too many lists in lists")


def test_an_absent_entry_is_named(tmp_path):
    refused(named(tmp_path, serialize({})), "there is no rdonet_jax in its metadata")
    refused(declared(tmp_path, '{"name": "a", "config": {}}'), "its metadata has no record")


@pytest.mark.parametrize("claim", [2**40, 2**63, weights_file.MAX_HEADER_BYTES + 1])
def test_a_header_that_claims_too_much_is_not_read(tmp_path, claim):
    refused(named(tmp_path, claim.to_bytes(8, "little") + bytes(100)), "does not begin as one does")


def test_a_file_of_gigabytes_is_refused_by_its_size(tmp_path):
    path = tmp_path / "evil-0.safetensors"
    with open(path, "wb") as file:
        file.write((100).to_bytes(8, "little"))
        file.truncate(2**31)
    refused(path, f"has {2**31} bytes, more than")


def test_a_configuration_of_too_many_parameters_is_refused(tmp_path):
    huge = dataclasses.asdict(presets.mbt2018(trunk=(4096, 4096, 4096)))
    refused(of(tmp_path, config=huge), "parameters, more than")


@pytest.fixture(scope="module")
def shapes():
    return zoo._shapes(presets.mini())


def kernel_parts(path: str, shape: tuple[int, ...], folded: bytes) -> dict[str, np.ndarray]:
    return {
        f"{path}/steps": np.ones(1, np.float16),
        f"{path}/shape": np.array(shape, np.int32),
        f"{path}/folded": np.frombuffer(folded, np.uint8),
    }


def test_a_kernel_that_inflates_to_more_than_its_network_has_is_not_inflated(tmp_path, shapes):
    path = next(name for name in sorted(shapes) if name.endswith("kernel"))
    numbers = 128 * MIB
    bomb = zlib.compress(bytes(numbers))
    tensors = {name: np.zeros(shape, np.float16) for name, shape in shapes.items() if name != path}
    file = of(tmp_path, tensors | kernel_parts(path, (1024, numbers // 1024), bomb + bomb))
    right = of(tmp_path, tensors | kernel_parts(path, shapes[path], bomb + bomb))
    tracemalloc.start()
    try:
        refused(file, rf"{path} has the shape \[1024, {numbers // 1024}\], not")
        refused(right, f"{path} does not hold {math.prod(shapes[path])} numbers")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB


@pytest.mark.parametrize(
    ("tensors", "cause"),
    [
        (kernel_parts("a/kernel", (2**31 - 1,) * 8, b""), "a/kernel is unknown to the network"),
        (kernel_parts("g_a/kernel", (1,) * 9, b""), "g_a/kernel has no shape"),
        ({"g_a/kernel/shape": np.array([[4]], np.int32)}, "g_a/kernel has no shape"),
        ({"g_a/kernel/shape": np.array([np.inf], np.float32)}, "g_a/kernel has no shape"),
        ({"g_a/kernel/shape": np.array([4], np.int32)}, "does not hold the network"),
        ({"\x1b[31m" * 100: np.zeros(1, np.float16)}, "does not hold the network"),
        ({"g_a/bias": np.zeros(1, np.float64)}, "g_a/bias is of the type F64"),
        ({"tables/cumulative": np.zeros(2**22 + 1, np.uint8)}, "tables/cumulative has 4194305"),
    ],
)
def test_tensors_that_are_not_those_of_the_network_are_not_loaded(tmp_path, tensors, cause):
    refused(of(tmp_path, tensors), cause)


def test_types_that_numpy_has_not_are_named(tmp_path):
    metadata = {"name": "evil", "config": dataclasses.asdict(presets.mini()), "record": {}}
    header = json.dumps({
        "__metadata__": {weights_file.METADATA_KEY: json.dumps(metadata)},
        "a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
    }).encode()  # fmt: skip
    refused(named(tmp_path, len(header).to_bytes(8, "little") + header + bytes(4)), "type BF16")


def test_what_is_no_file_is_no_model(tmp_path):
    for name in (tmp_path, "/dev/zero", "a\0b", "\x1b[31m"):
        with pytest.raises(zoo.ZooError, match="no model .* it is no weights file"):
            zoo.load(str(name))
