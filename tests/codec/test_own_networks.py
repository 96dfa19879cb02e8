"""Networks of families that somebody else has registered: files are coded with these networks."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.cli import main
from rdonet_jax.codec import codec
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import presets
from rdonet_jax.core.config import PortableConfig, RDONetConfig
from rdonet_jax.imaging import srgb
from rdonet_jax.metrics import distortion
from rdonet_jax.models import forward, registry, zoo
from rdonet_jax.models.portable.family import PortableFamily
from rdonet_jax.models.portable.network import PortableRDONet
from rdonet_jax.models.rdonet import network as rdonet
from rdonet_jax.models.rdonet.family import RDONetFamily


@dataclasses.dataclass(frozen=True)
class ShiftedConfig(RDONetConfig):
    """Of a network with one more parameter in each hyper-decoder."""


class ShiftedHyperDecoder(rdonet.HyperDecoder):
    @nn.compact
    def __call__(self, z_hat, d):
        mu, raw = super().__call__(z_hat, d)
        return mu + self.param("shift", nn.initializers.constant(2.7), (1,)), raw


class ShiftedUnit(rdonet.LSUnit):
    hyper_decoder_class = ShiftedHyperDecoder


class ShiftedNetwork(rdonet.RDONet):
    unit_class = ShiftedUnit


class ShiftedFamily(RDONetFamily):
    name, config, network_class = "shifted", ShiftedConfig, ShiftedNetwork


@dataclasses.dataclass(frozen=True)
class GrayConfig(PortableConfig):
    """Of a portable network with another synthesis."""


class GrayNetwork(PortableRDONet):
    def synthesize(self, *arguments):
        return jnp.zeros_like(super().synthesize(*arguments))


class GrayFamily(PortableFamily):
    name, config, network_class = "gray", GrayConfig, GrayNetwork


@pytest.fixture
def families(monkeypatch):
    monkeypatch.setattr(registry, "FAMILIES", dict(registry.FAMILIES))
    for family in (ShiftedFamily(), GrayFamily()):
        registry.register(family)


def model_of(config, folder):
    params = registry.init_params(config, jax.random.key(0))
    return zoo.load(zoo.save(folder, "own", config, params, {}))


@pytest.mark.slow
def test_a_variant_of_the_network_of_the_papers_is_coded_with_its_own_layers(
    families, tmp_path, photograph
):
    model = model_of(ShiftedConfig(**dataclasses.asdict(presets.tiny())), tmp_path)
    image = photograph[:128, :192]
    p = codec.choose_partition(model, image, "variance")
    encoded = codec.encode(model, image, p)
    np.testing.assert_array_equal(codec.decode(model, encoded.data).image, encoded.image)
    masks = codec.coded_masks(p, *image.shape[:2])
    found = forward(model, distortion.from_integers(image), masks)
    expected = np.asarray(distortion.to_8_bit(found.x_hat)).astype(int)
    assert np.abs(encoded.image - expected).max() <= 1
    assert 8 * len(encoded.data) == pytest.approx(float(found.bpp) * 128 * 192, rel=0.03, abs=800)


def test_a_portable_network_with_other_layers_is_refused_and_not_coded_as_the_usual_one(
    families, tmp_path, photograph
):
    model = model_of(GrayConfig(**dataclasses.asdict(presets.mini())), tmp_path)
    with pytest.raises(EncodeError, match="'gray' has a network of its own.* PortableRDONet alone"):
        codec.encode(model, photograph, codec.choose_partition(model, photograph, "uniform-16", 50))


@dataclasses.dataclass(frozen=True)
class UsualConfig(PortableConfig):
    """Of the usual portable network, under another name."""


class UsualFamily(PortableFamily):
    name, config, network_class = "usual", UsualConfig, PortableRDONet


def test_the_usual_network_may_be_named_by_its_class(families, tmp_path, photograph):
    registry.register(UsualFamily())
    model = model_of(UsualConfig(**dataclasses.asdict(presets.mini())), tmp_path)
    image = photograph[:64, :64]
    p = codec.choose_partition(model, image, "uniform-16", 50)
    assert codec.encode(model, image, p, 50, engine="numpy").data


def test_the_command_refuses_other_layers_in_one_line(families, tmp_path, photograph, capsys):
    model_of(GrayConfig(**dataclasses.asdict(presets.mini())), tmp_path)
    (weights,) = tmp_path.glob("own-*")
    image = tmp_path / "a.png"
    srgb.save(image, photograph[:64, :64])
    assert main.main(["compress", str(image), "--model", str(weights)]) == 1
    err = capsys.readouterr().err
    assert "has a network of its own" in err and err.count("\n") == 1


def test_a_weights_file_of_a_family_that_is_not_there_says_so(families, tmp_path):
    config = GrayConfig(**dataclasses.asdict(presets.mini()))
    path = zoo.save(tmp_path, "own", config, registry.init_params(config, jax.random.key(0)), {})
    del registry.FAMILIES["gray"]
    with pytest.raises(zoo.ZooError, match="family 'gray' is not registered in this program"):
        zoo.load(path)
