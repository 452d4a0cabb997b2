"""Trained weights by a tag: the catalogue, and the way of a file from its server into a network."""

import concurrent.futures
import csv
import dataclasses
import hashlib
import json
import pathlib
import tomllib
import zipfile
from unittest import mock

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from keras_preact import applications
from keras_preact.applications import published, registry
from keras_preact.applications.registry import Application, _builder
from keras_preact.config import EXPANSION, ResNetConfig
from keras_preact.errors import ConfigError, SaveError
from keras_preact.weights import read_weights

GOLDEN = pathlib.Path(__file__).parent / "golden"
ROOT = pathlib.Path(__file__).parents[2]
CATALOGUE = published.trained_weights()
ROWS = [weights for tags in CATALOGUE.values() for weights in tags.values()]
OWN = [row for row in ROWS if row.source == published.OWN]
FROM_OTHERS = [row for row in ROWS if row.source != published.OWN]

# Trainable parameters of networks that need another layout than ours, as osmr/imgclsmob reports
# them (tensorflow2/README.md).
THEIR_PARAMETERS = {
    ("resnet20", "cifar10"): 272_474,
    ("resnet56", "cifar100"): 861_620,
    ("resnet20v2", "svhn"): 272_282,
    ("resnet164v2", "cifar100"): 1_726_388,
    ("resnet10v2", "imagenet"): 5_417_128,
    ("resnet14bottleneck", "imagenet"): 10_064_936,
    ("resnet26bottleneckv2", "imagenet"): 15_987_624,
}


def test_rows_are_of_registered_networks_with_legal_layouts():
    assert len(ROWS) == 86
    for row in ROWS:
        info = applications.model_info(row.network)
        assert info.weights[row.tag] is row
        assert isinstance(row.config(info.config, {}, row.classes), ResNetConfig)
        assert (row.classes == 1000) == row.tag.startswith("imagenet") == (info.classes == 1000)
        assert 0 < row.top1_error < 50
        assert row.digest.startswith(("sha1:", "md5:", "sha256:"))
        if row.source == "osmr/imgclsmob":  # its names begin the digest
            assert row.file.endswith(f"-{row.digest.removeprefix('sha1:')[:8]}.tf2.h5")


def test_the_table_is_shipped_as_all_data_are():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    shipped = {
        path
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    there = {path for path in (ROOT / "keras_preact").rglob("*") if path.is_file()}
    assert {path for path in there if path.suffix not in (".py", ".pyc")} == shipped
    with open(ROOT / "keras_preact/applications/published.csv", newline="") as file:
        assert sum(1 for _ in csv.DictReader(file)) == len(ROWS)


@pytest.mark.filterwarnings("ignore:resnet20v2 uses weights")
@pytest.mark.parametrize("row", OWN, ids=lambda row: f"{row.network}-{row.tag}")
@pytest.mark.thorough
def test_weights_that_come_with_the_package(row):
    """They are those of their card, and give what was written down when they were measured."""
    folder = ROOT / "keras_preact/applications/trained"
    card = json.loads((folder / row.file).with_suffix(".json").read_text())
    data = (folder / row.file).read_bytes()
    assert row.digest == f"sha256:{hashlib.sha256(data).hexdigest()}" == f"sha256:{card['sha256']}"
    assert row.top1_error == pytest.approx(100 - card["test_correct"] / 100)
    info = applications.model_info(row.network)
    assert info.config.replace(**card["config"]) == info.config
    assert len(data) < 1e6
    model = applications.create_model(row.network, weights=row.tag)
    assert model.input_shape[1:] == (row.input_shape or info.input_shape)
    stored = load_file(folder / row.file)
    kernel = model.get_layer("stage2_unit1_conv1").kernel
    np.testing.assert_array_equal(kernel, stored["stage2_unit1_conv1/kernel"].astype("float32"))
    mean, variance = (np.float32(card["preprocessing"][name]) for name in ("mean", "variance"))
    x = images((4, *model.input_shape[1:]))
    prepared = applications.cifar_resnet_v2.preprocess_input(x, weights=row.tag)
    np.testing.assert_allclose(prepared, (x - mean) / np.sqrt(variance), atol=1e-4)
    features = applications.create_model(row.network, weights=row.tag, include_top=False)
    assert features.input_shape == (None, None, None, len(mean))


@pytest.mark.sample(4)
@pytest.mark.parametrize(("network", "tag"), THEIR_PARAMETERS)
def test_layouts_have_their_numbers_of_parameters(network, tag):
    row = CATALOGUE[network][tag]
    fields = {**row.fields, "packaging": "repeated", "classes": row.classes}
    model = applications.create_model(network, **fields)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == THEIR_PARAMETERS[network, tag]


@pytest.mark.parametrize("row", FROM_OTHERS[::7], ids=lambda row: f"{row.network}-{row.tag}")
def test_preprocessing_of_a_tag_is_that_of_its_weights(row):
    module = "cifar_resnet" if row.classes < 1000 else "resnet"
    module = getattr(applications, module + ("_v2" if row.network.endswith("v2") else ""))
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("float32")
    expected = {
        "imgclsmob": lambda x: (x / 255 - [0.4914, 0.4822, 0.4465]) / [0.2023, 0.1994, 0.2010],
        "torch": lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        "caffe": lambda x: x[..., ::-1] - [103.939, 116.779, 123.68],
        "tf": lambda x: x / 127.5 - 1,
    }[row.preprocessing](x)
    y = module.preprocess_input(x, data_format="channels_last", weights=row.tag)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    with pytest.raises(ConfigError, match=f"one of the tags .*'{row.tag}'.*weights='mnist'"):
        module.preprocess_input(x, weights="mnist")


def golden(name, server, monkeypatch):
    """The builder of a tiny network whose weights, tagged "tiny", the server has."""
    archive = (GOLDEN / f"{name}.tf2.h5.zip").read_bytes()
    with zipfile.ZipFile(GOLDEN / f"{name}.tf2.h5.zip") as opened:
        digest = hashlib.sha1(opened.read(f"{name}.tf2.h5")).hexdigest()
    family, kind, *v2 = name.split("_")
    cifar, basic = family == "cifar", kind == "basic"
    filters = np.array([4, 8, 12] if cifar else [4, 8, 8, 12])
    block = "basic" if basic else "bottleneck"
    config = ResNetConfig(
        block=block,
        units=(2, *(1 for _ in filters[1:])),
        filters=tuple(filters if basic else 2 * filters // EXPANSION[block]),
        placement="full_preactivation" if v2 else "original",
        projection="A" if cifar and basic else "B",
        stem_filters=4,
        **({} if cifar else {"stem_kernel": 7, "stem_stride": 2, "stem_pool": True}),
    )
    layout = {"basic": "option_b"}.get(kind, "stride_on_3x3") if cifar else ""
    layout = "stride_on_3x3" if kind == "3x3" else layout
    entry = ("entry_in_branch" if cifar else "entry_in_both",) if v2 else ()
    row = published.TrainedWeights(
        network="tinynet8",
        tag="tiny",
        classes=10,
        input_shape=None,
        top1_error=50.0,
        preprocessing="imgclsmob",
        source="osmr/imgclsmob",
        layout=(*layout.split(), *entry),
        release="v1",
        file=f"{name}.tf2.h5",
        digest=f"sha1:{digest}",
        file_notop="",
        digest_notop="",
    )
    server.files[f"/v1/{name}.tf2.h5.zip"] = archive
    return tiny(row, config, (32, 32, 3) if cifar else (224, 224, 3), monkeypatch)


def tiny(row, config, shape, monkeypatch):
    monkeypatch.setattr(registry, "trained_weights", lambda: {row.network: {row.tag: row}})
    return _builder(Application(row.network, "TinyNet8", config, shape, 7, 0, 0, "a test"))


def images(shape):
    """What `golden/make.py` feeds its networks."""
    return np.sin(np.arange(np.prod(shape), dtype="float64")).reshape(shape).astype("float32")


def outputs(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def cached(tmp_path):
    """Names in the cache that are not locks."""
    names = {path.name for path in (tmp_path / "keras" / "models").iterdir()}
    return {name for name in names if not name.endswith(".lock")}


@pytest.mark.filterwarnings("ignore:tinynet8 uses weights")
class TestDownload:
    KINDS = ("cifar_basic", "cifar_bottleneck", "imagenet_basic", "imagenet_bottleneck")

    @pytest.mark.sample(12)
    @pytest.mark.parametrize("version", ["", "_v2"])
    @pytest.mark.parametrize("kind", [*KINDS, "imagenet_3x3"])
    def test_outputs_are_those_of_tf2cv(self, kind, version, server, monkeypatch):
        build = golden(kind + version, server, monkeypatch)
        model = build(weights="tiny", classifier_activation=None)
        with np.load(GOLDEN / "outputs.npz") as expected:
            y = expected[kind + version]
        np.testing.assert_allclose(
            outputs(model, images((2, *model.input_shape[1:]))), y, atol=1e-4
        )

    def test_the_second_load_needs_neither_network_nor_conversion(
        self, server, monkeypatch, tmp_path
    ):
        build = golden("cifar_basic", server, monkeypatch)
        first = build(weights="tiny")
        assert server.asked == ["/v1/cifar_basic.tf2.h5.zip"]
        (converted,) = [name for name in cached(tmp_path) if name.endswith(".weights.h5")]
        assert cached(tmp_path) == {"cifar_basic.tf2.h5.zip", converted}
        assert converted.startswith("tinynet8-tiny-")
        (tmp_path / "keras/models/cifar_basic.tf2.h5.zip").unlink()
        server.close()
        again = build(weights="tiny", packaging="repeated", data_format="channels_last")
        x = images((2, 32, 32, 3))
        np.testing.assert_allclose(outputs(again, x), outputs(first, x), rtol=1e-5)
        # The converted file is an ordinary one.
        assert "stage1_unit2_norm2" in read_weights(tmp_path / "keras/models" / converted)

    @pytest.mark.thorough
    def test_a_converted_file_that_is_damaged_is_made_again(self, server, monkeypatch, tmp_path):
        build = golden("cifar_basic", server, monkeypatch)
        x = images((2, 32, 32, 3))
        first = outputs(build(weights="tiny"), x)
        (converted,) = (tmp_path / "keras/models").glob("*.weights.h5")
        whole = converted.read_bytes()
        converted.write_bytes(whole[: len(whole) // 2])
        np.testing.assert_allclose(outputs(build(weights="tiny"), x), first, rtol=1e-5)
        assert len(converted.read_bytes()) == len(whole)

    @pytest.mark.thorough
    def test_a_file_of_another_conversion_is_left_alone(self, server, monkeypatch, tmp_path):
        build = golden("cifar_basic", server, monkeypatch)
        build(weights="tiny")
        (converted,) = (tmp_path / "keras/models").glob("*.weights.h5")
        (tmp_path / "keras/models/cifar_basic.tf2.h5.zip").unlink()
        monkeypatch.setattr(published, "CONVERSION", published.CONVERSION + 1)
        before = converted.read_bytes(), converted.stat().st_mtime_ns
        build(weights="tiny")
        assert (converted.read_bytes(), converted.stat().st_mtime_ns) == before
        assert len(server.asked) == 2 and len(cached(tmp_path)) == 3

    def test_converted_weights_that_cannot_be_written(self, server, monkeypatch):
        build = golden("cifar_basic", server, monkeypatch)
        denied = PermissionError(13, "Permission denied")
        monkeypatch.setattr("filelock.FileLock.acquire", mock.Mock(side_effect=denied))
        with pytest.raises(SaveError, match="Converted weights could not be written"):
            build(weights="tiny")

    def test_those_who_load_at_once_download_once(self, server, monkeypatch):
        golden("cifar_basic", server, monkeypatch)
        row = registry.trained_weights()["tinynet8"]["tiny"]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            loaded = list(pool.map(lambda _: row.load(), range(4)))
        assert [weights.keys() for weights in loaded] == 4 * [loaded[0].keys()]
        assert server.asked == ["/v1/cifar_basic.tf2.h5.zip"]


class TestArguments:
    def test_layout_and_preprocessing_are_said(self, server, monkeypatch):
        build = golden("cifar_basic_v2", server, monkeypatch)
        said = r"projection='B', first_unit_entry='branch', not projection='A', first_unit_entry="
        with pytest.warns(UserWarning, match=said + r"'stem'\. Preprocess .*weights='tiny'"):
            build(weights="tiny")

    @pytest.mark.filterwarnings("ignore:tinynet8 uses weights")
    @pytest.mark.thorough
    def test_classes_and_top(self, server, monkeypatch):
        build = golden("cifar_basic", server, monkeypatch)
        assert build().output_shape == (None, 7)
        whole = build(weights="tiny")
        assert whole.output_shape == (None, 10)
        with pytest.raises(
            ConfigError, match=r"must be 10.*classes=7.*include_top=False.*replace_h"
        ):
            build(weights="tiny", classes=7)
        features = build(weights="tiny", classes=7, include_top=False, pooling="avg")
        x = images((2, 32, 32, 3))
        inner = keras.Model(whole.input, whole.get_layer("avg_pool").output)
        np.testing.assert_allclose(outputs(features, x), outputs(inner, x), rtol=1e-6)
        with pytest.raises(ConfigError, match=r"'tiny', which does not fit.*stem_conv"):
            build(weights="tiny", input_shape=(32, 32, 1))

    @pytest.mark.filterwarnings("ignore:tinynet8 uses weights")
    def test_fields_that_make_another_network_are_refused(self, server, monkeypatch):
        build = golden("cifar_basic", server, monkeypatch)
        for field, value in {
            "shortcut": "dropout",
            "projection": "A",
            "norm_epsilon": 1e-3,
        }.items():
            with pytest.raises(
                ConfigError, match=f"trained with {field}=.*Received: {field}={value!r}"
            ):
                build(weights="tiny", **{field: value})
        assert server.asked == []
        model = build(weights="tiny", projection="B", norm_momentum=0.99, initializer_mode="fan_in")
        assert model.get_layer("stem_norm").momentum == 0.99


@pytest.mark.filterwarnings("ignore:tinynet8 uses weights")
@pytest.mark.parametrize("version", [pytest.param(1, marks=pytest.mark.thorough), 2])
def test_files_of_keras_applications(
    version, server, monkeypatch, tmp_path, randomize, keras_2_file
):
    from keras.src.applications import resnet

    stack = (resnet.stack_residual_blocks_v1, resnet.stack_residual_blocks_v2)[version - 1]

    def stages(x):
        x = stack(x, 2, 2, stride1=2 if version == 2 else 1, name="conv2")
        return stack(x, 4, 2, **({"stride1": 1} if version == 2 else {}), name="conv3")

    theirs = randomize(
        resnet.ResNet(stages, version == 2, True, weights=None, input_shape=(64, 64, 3), classes=5)
    )
    file = keras_2_file(theirs, tmp_path / "theirs.h5")
    without = keras_2_file(
        keras.Model(theirs.input, theirs.layers[-2].output), tmp_path / "notop.h5"
    )
    row = dataclasses.replace(
        CATALOGUE["resnet50v2" if version == 2 else "resnet50"]["imagenet-keras"],
        network="tinynet8",
        classes=5,
        digest=f"md5:{hashlib.md5(file).hexdigest()}",
        digest_notop=f"md5:{hashlib.md5(without).hexdigest()}",
    )
    server.files = {f"/resnet/{row.file}": file, f"/resnet/{row.file_notop}": without}
    config = ResNetConfig(
        block="bottleneck",
        units=(2, 2),
        filters=(2, 4),
        placement="original" if version == 1 else "full_preactivation",
        projection="B",
        stem_filters=64,
        stem_kernel=7,
        stem_stride=2,
        stem_pool=True,
    )
    build = tiny(row, config, (64, 64, 3), monkeypatch)
    x = images((2, 64, 64, 3))
    np.testing.assert_allclose(
        outputs(build(weights="imagenet-keras"), x), outputs(theirs, x), atol=1e-6
    )
    features = build(weights="imagenet-keras", include_top=False, pooling="avg")
    expected = outputs(keras.Model(theirs.input, theirs.layers[-2].output), x)
    np.testing.assert_allclose(outputs(features, x), expected, atol=1e-6)
    assert server.asked == [f"/resnet/{row.file}", f"/resnet/{row.file_notop}"]


def test_a_conversion_that_gives_something_else_has_another_version(tmp_path):
    """If it is this one that fails: raise `published.CONVERSION`, and write down the new digest."""
    from keras_preact.weights.imgclsmob import read_imgclsmob
    from keras_preact.weights.sources import renamed

    found = [
        read_imgclsmob(zipfile.ZipFile(path).read(path.stem))
        for path in sorted(GOLDEN.glob("*.tf2.h5.zip"))
    ]
    layers = ("conv1_conv", "conv2_block1_0_conv", "conv3_block2_2_bn", "post_bn", "probs")
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file.attrs["layer_names"] = layers
        for layer in layers:
            file.create_group(layer).attrs["weight_names"] = ["a:0", "b:0"]
            for place, name in enumerate(("a:0", "b:0")):
                file[layer][name] = place + np.arange(6, dtype="float32").reshape(2, 3)
    found.append(renamed(read_weights(tmp_path / "keras.h5"))[0])
    digest = hashlib.sha256()
    for weights in found:
        for layer, values in sorted(weights.items()):
            for index, value in sorted(values.items()):
                digest.update(f"{layer} {index} {value.dtype} {value.shape}".encode())
                digest.update(value.tobytes())
    assert (published.CONVERSION, digest.hexdigest()[:16]) == (1, "3aefb1030e441f5c")


def test_a_file_of_another_kind_of_network_is_refused(tmp_path):
    from keras_preact.weights.imgclsmob import read_imgclsmob

    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["block1_conv1/block1_conv1/kernel:0"] = np.zeros((3, 3, 3, 8))
    with pytest.raises(ConfigError, match="'block1_conv1/block1_conv1/kernel:0', which is no"):
        read_imgclsmob((tmp_path / "other.h5").read_bytes())
    (tmp_path / "damaged.h5").write_bytes(b"no HDF5")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_imgclsmob((tmp_path / "damaged.h5").read_bytes())
