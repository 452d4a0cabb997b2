"""How images are prepared goes with the weights: read, written, built in, trained with."""

import dataclasses
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_preact import TrainConfig, convert, load_trained
from keras_preact.cli import main
from keras_preact.errors import ConfigError
from keras_preact.training.engines import make_engine
from keras_preact.training.job import prepare
from keras_preact.weights import (
    PREPROCESSINGS,
    Preprocessing,
    Source,
    read_preprocessing,
    read_source,
    save_named,
)

GOLDEN = pathlib.Path(__file__).parent / "golden"
RAW = np.random.default_rng(0).integers(0, 256, (4, 16, 17, 3)).astype("uint8")
MEAN, DEVIATION = [0.5, 0.25, 0.125], [0.25, 0.5, 0.125]
THESE = Preprocessing([255 * m for m in MEAN], [255 * d for d in DEVIATION])


def tensors(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file if key != "outputs"}


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_names_are_those_of_keras(mode):
    expected = keras.applications.imagenet_utils.preprocess_input(RAW.astype("float32"), mode=mode)
    known = PREPROCESSINGS[mode]
    found = keras.ops.convert_to_numpy(known.layer()(RAW))
    np.testing.assert_allclose(found[..., :: -1 if known.bgr else 1], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("keras_v1", "caffe"),
        ("keras_v2", "tf"),
        ("torchvision_basic", "torch"),
        ("timm_v2_basic", "tf"),
        ("transformers_basic", "torch"),
    ],
)
@pytest.mark.thorough
def test_libraries_have_theirs(source, name, keras_resnet):
    if source.startswith("keras"):
        source = keras_resnet(source.endswith("2"), (32, 32, 3))
    else:
        source = tensors(source)
    assert read_source(source).preprocessing == PREPROCESSINGS[name]


def of_folder(kind, folder, about):
    """What is read of the preprocessing in the folder of a library."""
    if kind == "keras_hub":
        shutil.unpack_archive(GOLDEN / "keras_hub_basic.zip", folder)
        (folder / "image_converter.json").write_text(about)
        return read_source(folder).preprocessing
    name = {"transformers": "transformers_basic", "timm": "torchvision_basic"}[kind]
    save_file(tensors(name), folder / "model.safetensors")
    if kind == "transformers":
        shutil.copy(GOLDEN / f"{name}.json", folder / "config.json")
        (folder / "preprocessor_config.json").write_text(about)
    else:
        (folder / "config.json").write_text(
            f'{{"architecture": "resnet18", "pretrained_cfg": {about}}}'
        )
    return read_source(folder).preprocessing


@pytest.mark.parametrize(
    ("kind", "about", "expected"),
    [
        ("transformers", {"image_mean": MEAN, "image_std": DEVIATION}, THESE),
        (
            "transformers",
            {"do_rescale": False, "image_mean": MEAN, "image_std": DEVIATION},
            Preprocessing(MEAN, DEVIATION),
        ),
        ("transformers", {"do_normalize": False}, Preprocessing([0, 0, 0], [255, 255, 255])),
        ("transformers", {"image_mean": "a"}, PREPROCESSINGS["torch"]),
        ("transformers", {"image_mean": 0.5, "image_std": 0.5}, PREPROCESSINGS["tf"]),
        ("timm", {"mean": MEAN, "std": DEVIATION}, THESE),
        ("timm", {"mean": MEAN, "std": [0, 1, 1]}, PREPROCESSINGS["torch"]),
        ("timm", {"mean": [0.5], "std": [0.5]}, None),  # of grey images
        (
            "keras_hub",
            {
                "config": {
                    "scale": [1 / 255 / d for d in DEVIATION],
                    "offset": [-m / d for m, d in zip(MEAN, DEVIATION, strict=True)],
                }
            },
            THESE,
        ),
        ("keras_hub", {"config": {"scale": 1 / 127.5, "offset": -1}}, PREPROCESSINGS["tf"]),
        ("keras_hub", {"config": {"scale": "a"}}, None),
        ("keras_hub", [], None),
    ],
)
def test_what_their_files_say_counts(kind, about, expected, tmp_path):
    found = of_folder(kind, tmp_path, json.dumps(about))
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6)
        np.testing.assert_allclose(found.deviation, expected.deviation, rtol=1e-6)


def test_damaged_files_say_nothing(tmp_path):
    assert of_folder("keras_hub", tmp_path, "{") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"mean": [1.0], "deviation": [1.0, 2.0]},
        {"mean": [1.0], "deviation": [0.0]},
        {"mean": [], "deviation": []},
        {"mean": [1.0], "deviation": [1.0], "bgr": True},
    ],
)
def test_what_cannot_be_is_refused(fields):
    with pytest.raises(ConfigError, match="Received: "):
        Preprocessing(**fields)


def prepared_as(name):
    return dataclasses.replace(
        read_source(tensors("torchvision_basic")), preprocessing=PREPROCESSINGS[name]
    )


def scores(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


@pytest.mark.parametrize("name", ["caffe", "tf", "torch"])
@pytest.mark.sample(3)
def test_a_network_can_prepare_raw_images_itself(name):
    source = prepared_as(name)
    x = keras.applications.imagenet_utils.preprocess_input(RAW.astype("float32"), mode=name)
    expected = scores(convert(source, classifier_activation=None), x)
    assert np.ptp(expected, axis=0).max() > 1e-3
    whole = convert(source, include_preprocessing=True, classifier_activation=None)
    np.testing.assert_allclose(scores(whole, RAW), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="preprocessing of the source is unknown"):
        convert(dataclasses.replace(source, preprocessing=None), include_preprocessing=True)


def test_files_say_it(tmp_path):
    source = prepared_as("caffe")
    path = tmp_path / "net.safetensors"
    save_named(convert(source), path, source.config, source.preprocessing)
    assert read_preprocessing(path) == PREPROCESSINGS["caffe"]
    again = read_source(path)
    assert isinstance(again, Source) and again.preprocessing == source.preprocessing
    assert read_preprocessing(tmp_path) is None


def test_the_command_says_it_and_its_keras_file_takes_raw_images(tmp_path, capsys):
    save_file(tensors("torchvision_basic"), tmp_path / "net.safetensors")
    command = ["convert", str(tmp_path / "net.safetensors"), "--out"]
    assert main([*command, str(tmp_path / "mine.keras")]) == 0
    assert "images: raw, values 0 to 255" in capsys.readouterr().out
    trained = load_trained(tmp_path / "mine.keras")
    whole = convert(prepared_as("torch"), include_preprocessing=True)
    np.testing.assert_allclose(scores(trained.model, RAW), scores(whole, RAW), atol=1e-6)
    for suffix, name, words in (
        (".safetensors", "caffe", "as blue, green, red; train --init"),
        (".weights.h5", "tf", ".weights.h5 cannot store"),
        (".keras", "none", "does not say how they are preprocessed"),
    ):
        assert main([*command, str(tmp_path / f"mine{suffix}"), "--preprocessing", name]) == 0
        assert words in " ".join(capsys.readouterr().out.split())
    assert read_preprocessing(tmp_path / "mine.safetensors") == PREPROCESSINGS["caffe"]
    assert main([*command, str(tmp_path / "mine.keras"), "--preprocessing", "caffee"]) == 2
    assert "Did you mean 'caffe'" in capsys.readouterr().err


@pytest.fixture
def images(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=RAW, y_train=np.arange(4) % 2, x_test=RAW, y_test=[0] * 4)
    return f"npz:{tmp_path}/x.npz"


@pytest.mark.parametrize("suffix", [".safetensors", ".keras"])
@pytest.mark.sample(2)
def test_a_training_that_starts_from_them_prepares_images_so(suffix, images, tmp_path):
    source, path = prepared_as("caffe"), str(tmp_path / f"net{suffix}")
    x = keras.applications.imagenet_utils.preprocess_input(RAW.astype("float32"), mode="caffe")
    expected = scores(convert(source, include_top=False, pooling="avg"), x)
    if suffix == ".keras":
        convert(source, include_preprocessing=True).save(path)
    else:
        save_named(convert(source), path, source.config, source.preprocessing)
    settings = {f"network.{k}": v for k, v in source.config.to_dict().items()}
    fields = {"dtype": "float32", "batch_size": 4, "settings": settings}
    job = begun("resnet18", images, path, **fields)
    features = keras.Model(job.engine.model.input, job.engine.model.get_layer("avg_pool").output)
    np.testing.assert_allclose(scores(features, RAW), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match=r"images like these, \(8, 8, 1\)\. Received"):
        begun("resnet18", "digits", path, **fields)


def begun(model, data, init, **fields):
    config = TrainConfig(model, data=data, init=init, **fields)
    return prepare(config, make_engine(config))


def test_a_training_starts_from_weights_by_their_tag(images):
    job = begun("resnet20v2", images, "cifar10-jpeg", dtype="float32", batch_size=4)
    layer = job.engine.model.get_layer("preprocessing")
    assert layer.get_config()["mean"] == [*PREPROCESSINGS["cifar10-jpeg"].mean]
    with pytest.raises(ConfigError, match=r"or one of the tags 'cifar10', .*Did you mean"):
        begun("resnet20v2", images, "cifar10jpeg", dtype="float32", batch_size=4)
    # The layout that the weights were trained in, and nothing against it.
    network = TrainConfig("resnet50", init="imagenet-3x3").resolve().network
    assert network.stride_on == "3x3"
    with pytest.raises(ConfigError, match="trained with stride_on='3x3'"):
        TrainConfig("resnet50", init="imagenet-3x3", settings={"network.stride_on": "1x1"})
