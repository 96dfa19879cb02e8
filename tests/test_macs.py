"""Multiply-accumulates against sums by hand, and against XLA's own count."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest

from rdonet_jax import config, macs, partition
from rdonet_jax.models import rdonet

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

    counted = macs.per_pixel(config.paper())
    assert sum(counted.values()) == pytest.approx(2 * trunk + LEVELS * (encoder + decoder))
    assert macs.of_decoder(counted) == pytest.approx(trunk + LEVELS * decoder)
    assert sum(counted.values()) == pytest.approx(209e3, rel=0.001)
    assert macs.of_decoder(counted) == pytest.approx(117e3, rel=0.003)


def test_a_decoder_leaves_out_the_analysis_alone():
    counted = macs.per_pixel(config.tiny())
    left_out = {path.split("/")[-1] for path in counted if not macs.of_decoder({path: 1.0})}
    assert left_out == {"g_a_0", "g_a_1", "g_a_2", "encoder", "to_latent", "first", "gdn", "second"}
    assert all(
        "hyper_encoder" in path for path in counted
        if path.endswith("gdn") and not macs.of_decoder({path: 1.0})
    )  # fmt: skip


def test_the_sum_is_what_xla_counts_but_for_borders_and_single_operations():
    preset = config.small(trunk=(64, 64, 64))
    side = 1024  # so that taps beyond the borders, which XLA leaves out, are few
    x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    params = jax.eval_shape(functools.partial(rdonet.initialise, preset), jax.random.key(0))
    blocks = side // partition.BLOCK

    def walk(params, x):
        masks = partition.level_masks(partition.uniform(0, (blocks, blocks), (1,)))
        coded, _ = jax.vjp(
            lambda p: rdonet.network(preset).apply({"params": p}, x, masks, method="code").x_hat,
            params,
        )
        return coded

    cost = jax.jit(walk).lower(params, x).cost_analysis()
    counted = sum(macs.per_pixel(preset).values()) * side**2
    assert cost["flops"] == pytest.approx(2 * counted, rel=0.1)
