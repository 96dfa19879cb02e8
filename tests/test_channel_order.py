"""Latents in another order: the same network, the same bits."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from rdonet_jax.codec import codec
from rdonet_jax.core import presets
from rdonet_jax.entropy import distributions
from rdonet_jax.models import zoo
from tests import portable_params
from tests.conftest import ROOT

MODEL = presets.mini()


@pytest.fixture
def channel_order(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("channel_order")


def model_of(params) -> zoo.Model:
    tables = distributions.scale_tables(MODEL.distribution)
    return zoo.Model("mini", MODEL, params, bytes(4), None, tables)


def test_sorted_channels_hold_the_same_symbols_in_their_new_order(channel_order, photograph):
    params = portable_params.acting(MODEL)
    rng = np.random.default_rng(0)
    order = [rng.permutation(count) for count in MODEL.latents]
    sorted_params = channel_order.sort_latents(params, MODEL, order)
    image = photograph[:100, :150]
    plain, other = (
        codec.encode(
            model_of(p),
            image,
            codec.choose_partition(model_of(p), image, "variance", 60),
            60,
            engine="numpy",
        )
        for p in (params, sorted_params)
    )
    for level, (ours, theirs) in enumerate(zip(other.symbols, plain.symbols, strict=True)):
        np.testing.assert_array_equal(ours[0], theirs[0])  # of z
        count = MODEL.latents[level]
        mine, its = (np.concatenate(runs[1:]).reshape(-1, count) for runs in (ours, theirs))
        # Sums of floats in another order may round otherwise.
        assert np.count_nonzero(mine != its[:, order[level]]) <= 2
    assert np.abs(plain.image.astype(int) - other.image).max() <= 2


def test_an_order_has_every_channel_once(channel_order):
    params = portable_params.acting(MODEL)
    order = [np.arange(count) for count in MODEL.latents]
    for wrong in ([0, *range(MODEL.latents[1] - 1)], range(3)):
        with pytest.raises(ValueError, match="level 1 needs each of its channels once"):
            channel_order.sort_latents(params, MODEL, [order[0], wrong, order[2]])


def test_channels_in_groups_keep_their_places(channel_order):
    grouped = presets.mini(channel_groups=((4,), (), ()), group_hidden=8)
    params = portable_params.acting(grouped)
    with pytest.raises(ValueError, match="have their places"):
        channel_order.sort_latents(params, grouped, [np.arange(n) for n in grouped.latents])


def test_channels_of_which_the_first_are_context_keep_their_places(channel_order):
    part = presets.mini(embedded=(4, 0, 0))
    params = portable_params.acting(part)
    with pytest.raises(ValueError, match="have their places"):
        channel_order.sort_latents(params, part, [np.arange(n) for n in part.latents])
