"""Packed kernels: what comes back, how small they are, and what is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import codec
from rdonet_jax.core import presets
from rdonet_jax.models import packing, registry, zoo
from rdonet_jax.models.portable import integer_format
from tests import portable_params

PATH = "layer/kernel"


def kernel(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(
    channels=st.integers(1, 5), seed=st.integers(0, 2**32 - 1), spread=st.floats(1e-6, 1e3),
    per_deviation=st.floats(1, 500),
)  # fmt: skip
def test_every_weight_comes_back_within_half_a_step(channels, seed, spread, per_deviation):
    values = spread * kernel(3, 2, channels, seed=seed)
    steps = packing.steps(values, per_deviation)
    back = packing.unpack(packing.pack(PATH, values, steps))[PATH]
    assert back.dtype == np.float32 and back.shape == values.shape
    # The step itself is a number of half precision, which may be a subnormal one.
    used = steps.astype(np.float16).astype(float)
    np.testing.assert_array_less(np.abs(back - values), np.broadcast_to(0.501 * used, back.shape))


def test_a_channel_of_zeros_stays_zero():
    values = kernel(8, 3) * np.array([1.0, 0.0, 1.0], np.float32)
    back = packing.unpack(packing.pack(PATH, values, packing.steps(values)))[PATH]
    assert np.all(back[:, 1] == 0) and np.all(np.any(back[:, [0, 2]], axis=0))


def test_normal_weights_take_little_more_than_their_entropy():
    values = kernel(300, 200)
    tensors = packing.pack(PATH, values, packing.steps(values, 32))
    entropy = np.log2(32 * np.sqrt(2 * np.pi * np.e))
    assert 8 * len(tensors[f"{PATH}/folded"]) < 1.03 * entropy * values.size


def test_integers_of_a_known_step_come_back_exactly():
    values = np.random.default_rng(1).integers(-127, 128, (40, 30)) * np.float32(2.0**-7)
    back = packing.unpack(packing.pack(PATH, values, np.full(1, 2.0**-7)))[PATH]
    np.testing.assert_array_equal(back, values)


def test_a_weight_beyond_all_integers_is_the_largest_one_of_its_sign():
    values = np.array([[128.0, -128.0, 1e5, 0.5]], np.float32)
    back = packing.unpack(packing.pack(PATH, values, np.full(1, 2.0**-9)))[PATH]
    most = 32767 * 2.0**-9
    np.testing.assert_array_equal(back, [[most, -most, most, 0.5]])


def test_other_tensors_are_left_alone():
    flat = {"layer/bias": np.ones(3, np.float16), "tables/entries": np.zeros(2, np.uint16)}
    assert packing.unpack(flat).keys() == flat.keys()


def tampered(**changes: object) -> dict[str, np.ndarray]:
    values = kernel(6, 4)
    tensors = packing.pack(PATH, values, packing.steps(values))
    for name, value in changes.items():
        if value is None:
            del tensors[f"{PATH}/{name}"]
        else:
            tensors[f"{PATH}/{name}"] = value
    return tensors


def of_bytes(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"steps": None}, "not whole"),
        ({"shape": None}, "not whole"),
        ({"folded": None}, "not whole"),
        ({"shape": np.array([6, 5])}, "cannot be"),
        ({"shape": np.array([-6, 4])}, "cannot be"),
        ({"shape": np.array([], int)}, "cannot be"),
        ({"shape": np.array([7, 4])}, "does not hold 28 numbers"),
        ({"shape": np.array([5, 4])}, "does not hold 20 numbers"),
        ({"shape": np.array([2**20, 2**20, 4])}, "does not hold"),
        ({"folded": of_bytes(b"nonsense")}, "damaged"),
        ({"folded": of_bytes(zlib.compress(bytes(24)))}, "does not hold"),
        ({"folded": of_bytes(3 * zlib.compress(bytes(24)))}, "left over"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(changes, cause):
    with pytest.raises(ValueError, match=cause):
        packing.unpack(tampered(**changes))


@pytest.mark.slow
def test_a_packed_model_has_the_same_integers_and_codes_its_own_files(tmp_path):
    """Wide enough that there is something to pack."""
    preset = presets.mini(hidden=48, embedding=24, features=(48, 24, 16), latents=(24, 16, 8))
    params = portable_params.mini_parameters(preset)
    plain = zoo.load(str(zoo.save(tmp_path, "plain", preset, params, {})))
    path = zoo.save(tmp_path, "small", preset, params, {}, pack=True)
    packed = zoo.load(str(path))
    assert packed.config == preset
    sizes = [file.stat().st_size for file in (path, *tmp_path.glob("plain*"))]
    assert sizes[0] < 0.8 * sizes[1]
    for level in range(3):
        ours, theirs = (m.params[f"units_{level}"]["prior"] for m in (packed, plain))
        for layer, bits in integer_format.WEIGHT_BITS.items():
            if layer in ours:
                a, b = (np.clip(np.rint(np.asarray(p[layer]["kernel"]) * 2.0**bits), -127, 127)
                        for p in (ours, theirs))  # fmt: skip
                np.testing.assert_array_equal(a, b)
    assert registry.parameter_count(packed.params) == registry.parameter_count(plain.params)
    pixels = np.random.default_rng(2).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    encoded = codec.encode(packed, pixels, codec.choose_partition(packed, pixels, "uniform-16"))
    np.testing.assert_array_equal(codec.decode(packed, encoded.data).image, encoded.image)


@pytest.mark.slow
def test_a_damaged_kernel_makes_no_model(tmp_path):
    preset = presets.mini(hidden=48)
    path = zoo.save(
        tmp_path, "small", preset, portable_params.mini_parameters(preset), {}, pack=True
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(zoo.ZooError, match="damaged or renamed"):
        zoo.load(str(path))
