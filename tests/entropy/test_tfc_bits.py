"""Our bits are those of TensorFlow Compression's own entropy models, by stored numbers of these.

`benchmarks/tfc_reference.py` made the numbers, with tensorflow-compression 2.14.1.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from rdonet_jax.entropy import bit_cost, distributions, likelihoods
from tests.conftest import ROOT

REFERENCE = json.loads((ROOT / "tests" / "reference" / "tfc_bits.json").read_text())["bits"]
MODELS = [(distribution, model) for distribution in REFERENCE for model in REFERENCE[distribution]]


def reference(distribution, model):
    """Values, their scales, and their bits by the entropy model."""
    index, value, bits = (np.array(REFERENCE[distribution][model][k]) for k in
                          ("index", "value", "bits"))  # fmt: skip
    assert set(index) == set(range(distributions.SCALE_COUNT))
    return value.astype(np.float32), distributions.scale_table(distribution)[index], bits


@pytest.mark.parametrize(("distribution", "model"), MODELS)
def test_bits_agree_with_tensorflow_compressions_entropy_models(distribution, model):
    value, scale, bits = reference(distribution, model)
    ours = np.asarray(likelihoods.bits(value, scale, distribution), np.float64)
    # Theirs are floats of 32 bits too, which cannot say more of a probability next to 1.
    np.testing.assert_allclose(ours, bits, rtol=0.001, atol=1e-6)
    assert ours.sum() == pytest.approx(bits.sum(), rel=1e-5)


def test_the_reference_has_rounded_and_noisy_values_and_those_of_universal_quantization():
    assert set(REFERENCE) == set(distributions.DISTRIBUTIONS)
    for distribution in REFERENCE:
        whole = {}
        for model in REFERENCE[distribution]:
            value, _, _ = reference(distribution, model)
            whole[model] = np.mean(value == np.rint(value))
        assert whole["ContinuousIndexed"] == 1
        assert whole["ContinuousIndexed, noise"] < 0.01
        assert whole["UniversalIndexed"] < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("distribution", distributions.DISTRIBUTIONS)
def test_coding_costs_agree_with_them_where_a_table_can_say_how_likely_a_symbol_is(distribution):
    symbols, scale, bits = reference(distribution, "ContinuousIndexed")
    costs = np.asarray(bit_cost.symbol_bits(symbols, scale, distribution), np.float64)
    # Of 16 bits of precision four are left for the shape of what costs 12.
    likely = bits < 12
    assert likely.mean() > 0.7
    assert costs[likely].sum() == pytest.approx(bits[likely].sum(), rel=0.001)
