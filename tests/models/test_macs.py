"""Multiply-accumulates against sums by hand, and against XLA's own count."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.codec import tiles
from rdonet_jax.codec.portable import coder as portable_coder
from rdonet_jax.codec.portable import jax_engine
from rdonet_jax.core import config, partition, presets
from rdonet_jax.models import macs, registry
from rdonet_jax.models.baselines.factorized_prior import FactorizedPrior
from rdonet_jax.models.baselines.family import BaselineFamily
from rdonet_jax.models.baselines.network import BaselineNetwork
from rdonet_jax.models.rdonet import network as rdonet
from tests import compiled, portable_params

pytestmark = [pytest.mark.optimized, pytest.mark.once]

LEVELS = 1 + 1 / 4 + 1 / 16
"""The networks of a level cost a quarter of those of the next finer one."""


def test_the_network_of_the_papers_takes_what_its_layers_take_by_hand():
    # Positions per pixel: 1/4, 1/16 and 1/64 in the trunk, 1/256 for latents of level 0.
    trunk = 25 * (3 * 192 / 4 + 192 * 192 / 16 + 192 * 192 / 64)
    decoder = 25 * (96 * 192 / 64 / 64 + 192 * 384 / 32 / 32 + 576 * 384 / 256 + 384 * 192 / 256)
    decoder += 192 * 192 / 32 / 32 + 384 * 384 / 256  # GDN
    decoder += 96 * 3 * (4 + 8) / 64 / 64  # four taps to 3 hidden channels, these to 2 outputs
    encoder = 25 * (192 * 192 / 256 + 384 * 192 / 256 + 384 * 192 / 32 / 32 + 192 * 96 / 64 / 64)
    encoder += 192 * 192 / 32 / 32

    counted = macs.per_pixel(presets.paper())
    assert sum(counted.values()) == pytest.approx(2 * trunk + LEVELS * (encoder + decoder))
    assert macs.of_decoder(counted) == pytest.approx(trunk + LEVELS * decoder)
    assert sum(counted.values()) == pytest.approx(209e3, rel=0.001)
    assert macs.of_decoder(counted) == pytest.approx(117e3, rel=0.003)


def test_a_decoder_leaves_out_the_analysis_alone():
    counted = macs.per_pixel(presets.tiny())
    left_out = {path.split("/")[-1] for path in counted if not macs.of_decoder({path: 1.0})}
    assert left_out == {"g_a_0", "g_a_1", "g_a_2", "encoder", "to_latent", "first", "gdn", "second"}
    assert all(
        "hyper_encoder" in path for path in counted
        if path.endswith("gdn") and not macs.of_decoder({path: 1.0})
    )  # fmt: skip


@pytest.fixture
def counted_with(monkeypatch):
    """What a network takes whose synthesis is this layer."""
    monkeypatch.setattr(macs, "_COUNTS", dict(macs._COUNTS))
    monkeypatch.setattr(registry, "FAMILIES", dict(registry.FAMILIES))

    def count(layer: Callable[[], nn.Module]) -> dict[str, float]:
        class Network(BaselineNetwork):
            def setup(self):
                self.g_a = nn.Conv(self.config.latents, (16, 16), (16, 16))
                self.g_s = layer()
                self.factorised_prior = FactorizedPrior()

        class Family(BaselineFamily):
            name = "blocks"
            config = BlockConfig
            network_class = Network

        registry.FAMILIES["blocks"] = Family()
        return dict(macs.per_pixel(BlockConfig(kind="factorised", latents=16)))

    return count


@dataclasses.dataclass(frozen=True)
class BlockConfig(config.BaselineConfig):
    pass


class Own(nn.Module):
    """A layer of one's own."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.normal(), (x.shape[-1], 768))
        rows, columns = x.shape[1:3]
        blocks = (x @ kernel).reshape(-1, rows, columns, 16, 16, 3)
        return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16 * rows, 16 * columns, 3)


def test_a_transposed_convolution_of_flax_counts(counted_with):
    counted = counted_with(lambda: nn.ConvTranspose(3, (16, 16), (16, 16)))
    assert counted == {"g_a": 48, "g_s": 48}
    assert macs.of_decoder(counted) == 48


def test_an_unknown_layer_is_an_error_until_it_is_registered(counted_with):
    with pytest.raises(ValueError, match=r"g_s: .* Own takes; models\.macs\.register"):
        counted_with(Own)
    macs.register(Own, lambda layer, shape, y: math.prod(shape) * 768)
    assert counted_with(Own)["g_s"] == 48
    with pytest.raises(ValueError, match="already"):
        macs.register(Own, lambda layer, shape, y: 0)


@pytest.mark.slow
def test_the_sum_is_what_xla_counts_but_for_borders_and_single_operations():
    preset = presets.small(trunk=(64, 64, 64))
    side = 1024  # so that taps beyond the borders, which XLA leaves out, are few
    x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    params = jax.eval_shape(functools.partial(rdonet.init_params, preset), jax.random.key(0))
    blocks = side // partition.BLOCK

    def run(params, x):
        masks = partition.level_masks(partition.uniform(0, (blocks, blocks), (1,)))
        coded, _ = jax.vjp(
            lambda p: rdonet.network(preset).apply({"params": p}, x, masks, method="code").x_hat,
            params,
        )
        return coded

    cost = jax.jit(run).lower(params, x).cost_analysis()
    counted = sum(macs.per_pixel(preset).values()) * side**2
    assert cost["flops"] == pytest.approx(2 * counted, rel=0.1)


def operations(jaxpr: Any) -> int:
    """Multiply-accumulates of the matrix products and convolutions of a traced function."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inputs = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(
                inputs[axis] for axis in contracted
            )
        elif equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // outputs
        for inner in jax.tree_util.tree_leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            total += operations(inner) if hasattr(inner, "eqns") else 0
    return total


def counting(function: Callable[..., Any], counts: list[int]) -> Callable[..., Any]:
    """A compiled step of the coder that computes nothing, and says what it would have."""

    def call(*arguments: Any) -> Any:
        fixed = next(i for i, v in enumerate(arguments) if not isinstance(v, _FIXED))
        step = functools.partial(function, *arguments[:fixed])
        traced, shapes = jax.make_jaxpr(step, return_shape=True)(*arguments[fixed:])
        counts.append(operations(traced.jaxpr))
        return jax.tree_util.tree_map(lambda s: np.zeros(s.shape, s.dtype), shapes)

    return call


_FIXED = (config.PortableConfig, int, tuple)
STEPS = list(compiled.functions(jax_engine))


@pytest.fixture
def computed(monkeypatch) -> Callable[..., dict[str, float]]:
    """What coder and decoder of a square image compute, per pixel."""
    counts: list[int] = []
    for name in STEPS:
        monkeypatch.setattr(jax_engine, name, counting(getattr(jax_engine, name), counts))

    def count(model: config.PortableConfig, side: int) -> dict[str, float]:
        masks = tuple(np.ones([side // stride] * 2, bool) for stride in partition.STRIDES)

        def new_coder() -> portable_coder.PortableLevelCoder:
            counts.clear()
            engine = jax_engine.JaxEngine(model, portable_params.shapes(model), np.array([0]))
            return portable_coder.PortableLevelCoder(model, engine, masks, (side, side))

        decoder = new_coder()
        for level in (2, 1, 0):
            decoder.decode_level(level, lambda indices: np.zeros(indices.shape, np.int32))
        decoder.reconstruct()
        found = {"decoder": sum(counts) / side**2}
        encoder = new_coder()
        encoder.analyze(np.zeros((side, side, 3), np.uint8))
        for level in (2, 1, 0):
            encoder.encode_level(level, continues=True)
        found["encoder"] = sum(counts) / side**2
        encoder.reconstruct()
        found["encoder with its image"] = sum(counts) / side**2
        return found

    return count


@pytest.mark.slow
def test_the_standard_network_computes_its_layers_and_few_of_them(computed):
    # An image that is one window, so that nothing is computed twice.
    side = max(tiles.TILE_SHAPES)[0] * partition.BLOCK
    found, counted = computed(presets.standard(), side), macs.per_pixel(presets.standard())
    assert found["decoder"] <= 30e3
    assert found["encoder"] <= found["encoder with its image"] <= 60e3
    last = ("units_0/restore", "units_0/hand_over")
    to_image = sum(n for path, n in counted.items() if path.startswith(last))
    expected = {
        "decoder": macs.of_decoder(counted),
        "encoder": macs.of_encoder(counted) - to_image,
        "encoder with its image": sum(counted.values()),
    }
    for name in found:
        # Compiled predictions of all planes have places for eight neighbors.
        assert expected[name] <= found[name] <= 1.12 * expected[name]


@pytest.mark.slow
def test_a_portable_decoder_leaves_out_what_looks_at_the_image():
    counted = macs.per_pixel(presets.mini())
    left_out = {path.split("/")[-1] for path in counted if not macs.of_decoder({path: 1.0})}
    assert left_out == {"g_a", "g_a_refine", "out", "encoder", "refine", "to_latent",
                        "first", "second", "third"}  # fmt: skip
    assert not macs.of_encoder({path: n for path, n in counted.items() if path[:3] == "g_s"})


@pytest.mark.slow
def test_the_planes_of_a_level_are_predicted_from_none_four_four_and_eight_neighbors():
    model = presets.mini()
    counted = macs.per_pixel(model)
    always = 2 * model.conditioning + model.knots + 1
    for level, stride in enumerate(partition.STRIDES):
        products = counted[f"units_{level}/prior/first"] * (2 * stride) ** 2 / model.hidden
        assert products == 4 * always + (0 + 4 + 4 + 8) * model.embedding


@pytest.mark.slow
def test_the_wide_preset_stays_within_what_decoding_and_a_file_may_cost():
    preset = presets.wide()
    counted = macs.per_pixel(preset)
    assert macs.of_decoder(counted) <= 20_000 and macs.of_encoder(counted) <= 26_000
    shapes = registry.family_of(preset).param_shapes(preset)
    assert sum(math.prod(shape) for shape in shapes.values()) <= 10_000_000
