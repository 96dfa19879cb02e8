"""Datasets by name: the same images and crops as those of a folder, and what is refused."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.cli import lazy_commands
from rdonet_jax.evaluation import real_files
from rdonet_jax.imaging import dataset, named_datasets, shard_writer
from rdonet_jax.imaging.dataset import DatasetError, DatasetWarning, ImageDataset
from rdonet_jax.training.batches import crops
from rdonet_jax.training.config import TrainingConfig

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six images of other sizes; one is gray, one turned, and one too small for a crop."""
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (70 + number, 97 - number, 3), np.uint8)
        Image.fromarray(pixels).save(path / f"{number}.png")
    Image.fromarray(pixels[..., 0]).save(path / "4.png")
    turned = Image.fromarray(pixels)
    turned.getexif()[274] = 6
    turned.save(path / "5.jpg", exif=turned.getexif())
    Image.fromarray(pixels[:30]).save(path / "6.png")
    return path


@pytest.fixture(scope="module")
def libraries():
    """Keeps the libraries from the network and from the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def hugging_face(libraries, folder, tmp_path_factory) -> str:
    """The name of a dataset that the library has saved, with a second column."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (extra hf)")
    place = tmp_path_factory.mktemp("hf")
    paths = sorted(map(str, folder.iterdir()))
    rows = datasets.Dataset.from_dict({"label": list(map(len, paths)), "image": paths})
    rows = rows.cast_column("image", datasets.Image())
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(place / "saved")
    rows.to_parquet(place / "files" / "train.parquet")
    rows.select_columns(["label"]).save_to_disk(place / "labels")
    return f"hf:{place}/saved"


@pytest.fixture(scope="module")
def tensorflow_datasets(libraries, folder, tmp_path_factory) -> str:
    """The name of a dataset that the library has prepared as ArrayRecord files."""
    tfds = pytest.importorskip(
        "tensorflow_datasets", reason="tensorflow_datasets is not installed (extra tfds)"
    )
    paths = sorted(folder.iterdir())

    class Photographs(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"label": tfds.features.Text(), "image": tfds.features.Image()}
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number, path in enumerate(paths):
                yield number, {"label": path.name, "image": io.BytesIO(path.read_bytes())}

    place = tmp_path_factory.mktemp("tfds")
    with contextlib.redirect_stdout(io.StringIO()):
        Photographs(data_dir=place, file_format="array_record").download_and_prepare()
    return f"tfds:{place}/photographs/1.0.0"


@pytest.fixture(params=["hugging_face", "tensorflow_datasets"])
def name(request) -> str:
    return request.getfixturevalue(request.param)


def usable(place: str | Path) -> ImageDataset:
    with pytest.warns(DatasetWarning, match="too small for crops of 64x64"):
        return dataset.usable(dataset.find([place]), 64)


def test_images_and_crops_are_those_of_the_folder(folder, name):
    ours, theirs = usable(name), usable(folder)
    assert ours.sizes == theirs.sizes and len(ours.paths) == 6
    config = TrainingConfig(crop=64, batch_size=4)
    for number in [*range(20), 10**6, 1]:
        np.testing.assert_array_equal(
            crops.random_crop(ours, config, number), crops.random_crop(theirs, config, number)
        )
    batch = next(iter(crops.batches(ours, config, host=1, hosts=2, threads=2)))
    np.testing.assert_array_equal(batch.crops[0], crops.random_crop(theirs, config, 2))


def test_a_split_is_named_behind_the_dataset(hugging_face):
    assert len(dataset.find([f"{hugging_face}:test"])) == 1
    both = dataset.find([hugging_face, f"{hugging_face}:train", f"{hugging_face}:test"])
    assert len(both) == 8  # of which the first seven were named twice
    with pytest.raises(DatasetError, match=":valid: has no split valid, only train, test"):
        dataset.find([f"{hugging_face}:valid"])


def test_a_part_of_a_split_is_named_as_the_library_does(tensorflow_datasets):
    assert len(dataset.find([f"{tensorflow_datasets}:train[:3]"])) == 3
    with pytest.raises(DatasetError, match=":test: has no split test, only train"):
        dataset.find([f"{tensorflow_datasets}:test"])


def test_files_that_the_library_reads_are_a_dataset_too(
    hugging_face, folder, tmp_path, monkeypatch
):
    datasets = sys.modules["datasets"]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    place = hugging_face.replace("saved", "files")
    assert usable(place).sizes == usable(folder).sizes


def test_a_dataset_is_packed_into_shards(name, folder, tmp_path):
    index = shard_writer.pack([name], tmp_path / "shards", "tar")
    assert len(index.names) == 7 and index.names[0] == "00000000"
    assert usable(tmp_path / "shards").sizes == usable(folder).sizes
    packed = dataset.find([tmp_path / "shards"])[3].content()
    assert packed == (folder / "3.png").read_bytes()


def test_images_have_names_in_evaluations(name):
    images = real_files.named_images([name])
    assert next(iter(images)) == "00000000" and len(images) == 7
    assert dataset.load(images["00000004"]).shape == (73, 94, 3)


@pytest.mark.parametrize("kind", ["hf", "tfds"])
def test_a_package_that_is_missing_is_named(kind, monkeypatch, capsys):
    package = named_datasets.PACKAGES[kind]
    monkeypatch.setitem(sys.modules, package, None)
    assert lazy_commands.data(["pack", f"{kind}:photographs", "out"]) == 1
    assert capsys.readouterr().err == (
        f"rdonet data: {kind}:photographs:train: needs {package}, which is not installed: pip "
        f"install 'rdonet-jax[{kind}]'\n"
    )


@pytest.mark.parametrize("library", ["hugging_face", "tensorflow_datasets"])
def test_an_unknown_name_is_a_sentence(library, request):
    kind = request.getfixturevalue(library).partition(":")[0]
    with pytest.raises(DatasetError, match=f"{kind}:nothing_of_this_name:train: ") as caught:
        dataset.find([f"{kind}:nothing_of_this_name"])
    assert "\n" not in str(caught.value)


def test_a_dataset_without_images_says_what_it_has(hugging_face):
    with pytest.raises(DatasetError, match="labels:train: has no column of images, only label"):
        dataset.find([hugging_face.replace("saved", "labels")])


def test_of_several_columns_of_images_the_one_called_image_is_taken():
    features = {"left": 1, "image": 2, "text": "x"}
    assert named_datasets._image_column(features, int) == "image"
    with pytest.raises(named_datasets.NamedDatasetError, match=r"several .* \(left, right\)"):
        named_datasets._image_column({"left": 1, "right": 2}, int)


@pytest.mark.parametrize(
    ("text", "is_name"),
    [("tfds:mnist", True), ("tfds:mnist:3.0.1", True), ("hf:user/set:train[:10%]", True),
     ("hf:", False), ("photographs", False), ("s3://hf:x", False), ("/data/tfds:x", False)],
)  # fmt: skip
def test_names_are_told_from_folders(text, is_name):
    assert named_datasets.is_name(text) == is_name
    assert named_datasets.is_name(Path(text)) == is_name
