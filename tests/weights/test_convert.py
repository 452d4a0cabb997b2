"""Weights of other libraries: the same outputs as there, and what is refused."""

import dataclasses
import errno
import json
import pathlib
import shutil

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_preact import convert, create_model, load_trained, model_info
from keras_preact.applications.families import KERAS_V1, KERAS_V2
from keras_preact.cli import main
from keras_preact.errors import ConfigError
from keras_preact.rewrite import outputs_of, portable
from keras_preact.weights import Preprocessing, read_config, read_source, save_named, sources

GOLDEN = pathlib.Path(__file__).parent / "golden"
IMAGES = np.load(GOLDEN / "images.npy").astype("float32")

STATE_DICTS = [
    "torchvision_basic",
    "torchvision_bottleneck",
    "torchvision_groups",
    "timm_d",
    "timm_v2_basic",
    "timm_v2_bottleneck",
    "timm_v2_d",
    "transformers_basic",
    "transformers_bottleneck",
    "transformers_stride_on_1x1",
]
KERAS_HUB = ["basic", "bottleneck", "d", "v2_basic", "v2_bottleneck"]


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def thorough(*values):
    return pytest.param(*values, marks=pytest.mark.thorough)


def golden(name):
    """A state dict, and what its network gives for the images."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        tensors = dict(file)
    return tensors, tensors.pop("outputs")


def written(name, folder):
    """The file or folder in which a library keeps a state dict."""
    tensors, outputs = golden(name)
    if not name.startswith("transformers"):
        save_file(tensors, folder / "net.safetensors")
        return folder / "net.safetensors", outputs
    save_file(tensors, folder / "model.safetensors")
    shutil.copy(GOLDEN / f"{name}.json", folder / "config.json")
    return folder, outputs


def agree(model, outputs):
    assert np.ptp(outputs, axis=0).max() > 1e-4, "the images must make a difference"
    np.testing.assert_allclose(model(IMAGES), outputs, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("name", STATE_DICTS)
@pytest.mark.sample(12)
def test_outputs_are_those_of_pytorch(name, tmp_path):
    source, outputs = written(name, tmp_path)
    model = convert(source, classifier_activation=None)
    agree(model, outputs)
    assert model.input_shape == (None, None, None, 3)
    agree(portable(model), outputs)


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", KERAS_HUB)
@pytest.mark.parametrize("numbered", [thorough(False), True])
def test_outputs_are_those_of_keras_hub(name, numbered, tmp_path):
    folder = tmp_path / "preset"
    shutil.unpack_archive(GOLDEN / f"keras_hub_{name}.zip", folder)
    if numbered:  # as versions of Keras that write no names do
        for path in folder.glob("*.h5"):
            with h5py.File(path, "a") as file:
                file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    source = read_source(folder)
    assert (source.config.stem_kernel, source.classes) == (3, 5)
    agree(convert(source, classifier_activation=None), np.load(folder / "outputs.npy"))


def test_depth_and_widths_are_read_off_the_arrays():
    tensors, outputs = golden("torchvision_bottleneck")
    source = read_source(tensors)
    config = source.config
    assert (config.block, config.units, config.filters) == ("bottleneck", (1, 2), (8, 16))
    assert (config.stem_filters, config.stem_kernel) == (8, 7)
    assert (source.channels, source.classes) == (3, 5)
    model = convert(source, packaging="repeated", data_format="channels_last", name="mine")
    assert model.name == "mine"
    odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    agree(model, odds / odds.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("torchvision_bottleneck", {}),
        ("torchvision_groups", {"width": 3.0, "groups": 2}),
        ("timm_d", {"stem": "deep", "stem_kernel": 3, "projection_stride": "avg_pool"}),
        ("timm_v2_d", {"stem": "deep", "stem_kernel": 3, "projection_stride": "avg_pool"}),
    ],
)
def test_width_groups_and_stem_are_read_off_the_arrays(name, fields):
    found = read_source(golden(name)[0]).config
    usual = {"width": 1.0, "groups": 1, "stem": "conv", "stem_kernel": 7}
    usual |= {"projection_stride": "conv", "filters": (8, 16), "stem_filters": 8}
    assert {field: getattr(found, field) for field in usual} == {**usual, **fields}


def test_other_names_for_the_same_layers():
    tensors, _ = golden("torchvision_basic")
    expected = read_source(tensors)
    for ahead in (
        "module.", "_orig_mod.", "model.", "module._orig_mod.net.", "backbone.", "ema.", "0.",
        "state_dict.", "model_ema.module.", "net.0.", "encoder_q.trunk.",
    ):  # fmt: skip
        wrapped = {f"{ahead}{key}": array for key, array in tensors.items()}
        same_source(read_source({**wrapped, "n_averaged": np.array(5)}), expected)
    tensors, _ = golden("transformers_basic")
    wrapped = {f"ema.{key}": array for key, array in tensors.items()}
    same_source(read_source(wrapped), read_source(tensors))
    backbone = {
        key.removeprefix("resnet."): array
        for key, array in tensors.items()
        if not key.startswith("classifier")
    }
    assert convert(backbone).output_shape == (None, None, None, 16)
    assert convert(tensors, include_top=False, pooling="avg").output_shape == (None, 16)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["res2a_branch2a", "bn2a_branch2a", "conv1"], "before Keras 2.3"),
        (["conv2d", "batch_normalization"], "did not write layer names"),
        (["resnet50", "dense_1"], r"'resnet50' is a nested model.*model\.get_layer\('resnet50'\)"),
        (["sequential", "dense"], r"'sequential' is a nested model"),
        (["bn_conv1", "res3d_branch2c", "fc1000"], "before Keras 2.3"),
        (["conv1_conv", "conv2_block1_1_conv", "dense"], r"'dense'.*model\.get_layer\(NAME\)"),
    ],
)
def test_names_that_say_what_to_do(names, words):
    with pytest.raises(ConfigError, match=words):
        many = {"resnet50", "sequential"}  # as Keras 2 wrote models inside of models
        arrays = {name: [np.ones((1, 1, 2, 2))] * (9 if name in many else 1) for name in names}
        sources.renamed({name: dict(enumerate(arrays[name])) for name in names})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        slow("ResNet50", KERAS_V1),
        ("ResNet50V2", KERAS_V2),
        slow("ResNet101", KERAS_V1),
        slow("ResNet101V2", KERAS_V2),
        slow("ResNet152", KERAS_V1),
        slow("ResNet152V2", KERAS_V2),
    ],
)
def test_outputs_are_those_of_keras_applications(name, fields, tmp_path, keras_2_file):
    theirs = getattr(keras.applications, name)(
        weights=None, input_shape=(64, 65, 3), classes=7, classifier_activation=None
    )
    random = np.random.default_rng(0)
    for weight in theirs.weights:
        if weight.path.endswith(("moving_mean", "beta", "bias")):
            weight.assign(random.normal(0, 0.1, weight.shape))
        elif weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    source = read_source(theirs)
    ours = convert(source, classifier_activation=None)
    assert ours.name == name.lower()
    assert source.config == model_info(ours.name).config.replace(**fields)
    images = random.normal(size=(2, 64, 65, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(theirs(images))
    assert expected.std() > 0.01
    np.testing.assert_allclose(ours(images), expected, atol=1e-5, rtol=1e-5)

    theirs.save_weights(tmp_path / "net.weights.h5")
    keras_2_file(theirs, tmp_path / "net_weights_tf_dim_ordering_tf_kernels.h5")
    for path in tmp_path.iterdir():
        same_source(read_source(path), source)
    no_top = keras.Model(theirs.input, theirs.layers[-3].output)
    keras_2_file(no_top, tmp_path / "notop.h5")
    found = read_source(tmp_path / "notop.h5")
    assert (found.classes, found.config) == (None, source.config)
    with pytest.raises(ConfigError, match="no classifier"):
        convert(found, include_top=True)


def same_source(found, expected):
    assert found.config == expected.config
    assert found.weights.keys() == expected.weights.keys()
    for layer, values in expected.weights.items():
        assert found.weights[layer].keys() == values.keys()
        for index, array in values.items():
            np.testing.assert_array_equal(found.weights[layer][index], array)


def test_a_file_of_this_package_is_a_source(tmp_path, randomize):
    model = randomize(create_model("resnet8v2", input_shape=(33, 38, 3)))
    config = model_info("resnet8v2").config
    save_named(model, tmp_path / "net.safetensors", config)
    again = convert(tmp_path / "net.safetensors")
    assert again.name == "resnet8v2"
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))
    save_named(model, tmp_path / "net.safetensors")
    with pytest.raises(ConfigError, match="Received: layers"):
        convert(tmp_path / "net.safetensors")


def without(key):
    return lambda tensors: {name: tensors[name] for name in tensors if name != key}


def renamed(old, new):
    return lambda tensors: {name.replace(old, new): tensors[name] for name in tensors}


def twice(ahead):
    return lambda tensors: {**tensors, **{f"{ahead}{key}": tensors[key] for key in tensors}}


def reshaped(key, shape):
    return lambda tensors: {**tensors, key: np.zeros(shape, "float32")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("layer2.1.bn2.running_mean"), ["'layer2.1.bn2'", "shapes"]),
        (without("layer2.0.downsample.0.weight"), ["'layer2.0.downsample.0'"]),
        (without("layer2.1.conv1.weight"), ["they have no 'layer2.1.conv1'"]),
        (without("conv1.weight"), ["'conv1'"]),
        (lambda t: {k: t[k] for k in t if not k.startswith("layer")}, ["Received"]),
        (without("fc.weight"), ["`fc` must be a classifier with a kernel"]),
        (renamed("layer2.1.conv2", "layer2.1.conv2.0"), ["torchvision", "'layer2.1.conv2.0'"]),
        (renamed("bn1.running_var", "bn1.scale"), ["layer 'bn1'", "'scale': (8,)"]),
        (renamed("layer", "block"), ["some layers are unknown", "'block1.0.conv1'"]),
        (renamed("layer2.1", "layer2.3"), ["`units` must be numbered without gaps", "4]"]),
        (renamed("layer2.1", "layer2.300000"), ["some layers are unknown", "layer2.300000"]),
        (lambda tensors: {}, ["Received: layers without any"]),
        (lambda tensors: {"a.weight": tensors["fc.weight"]}, ["KerasHub", "Received: layers 'a'"]),
        (lambda tensors: {"state_dict": tensors, "epoch": 3}, ["source['state_dict']"]),
        (lambda tensors: {"model": {"ema": tensors}, "opt": {}}, ["'model', 'opt'", "nested"]),
        (twice("module."), ["'module.", "the same under another name", "one network"]),
        (twice("teacher."), ["'teacher.bn1'", "some layers are unknown"]),
        # Fewer channels, a width and groups in one stage only.
        (reshaped("layer1.0.conv3.weight", (16, 8, 1, 1)), ["'layer1.0.downsample.0'", "8, 16)"]),
        (reshaped("layer1.0.conv2.weight", (8, 4, 3, 3)), ["'layer2.0.conv2'", "(3, 3, 8, 16)"]),
        (reshaped("layer1.0.conv2.weight", (9, 8, 3, 3)), ["'layer1.0.conv1'", "(1, 1, 8, 9)"]),
        (reshaped("layer1.0.conv2.weight", (8, 0, 3, 3)), ["'layer1.0.conv2'", "(3, 3, 1, 8)"]),
        (reshaped("layer1.0.conv2.weight", (0, 8, 3, 3)), ["`groups` must be at least 1"]),
        (reshaped("layer1.0.conv2.weight", (8, 8, 5, 5)), ["(1, 5, 1)", "(1, 3, 1)"]),
    ],
)  # fmt: skip
def test_what_no_config_describes_is_refused_by_their_names(change, words):
    with pytest.raises(ConfigError) as error:
        convert(change(golden("torchvision_bottleneck")[0]))
    for word in (*words, "Received"):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("net.pth", b"", ["pickle", "safetensors.torch.save_file", "net.pth"]),
        ("net.safetensors", b"damaged", ["cannot be read"]),
        ("net.h5", b"damaged", ["cannot be read"]),
        ("net.keras", b"damaged", ["cannot be read"]),
        ("net.onnx", b"", ["'.safetensors'", "net.onnx"]),
        ("none/", None, ["an existing file", "none"]),
        ("folder/pytorch_model.bin", b"", ["config.json"]),
    ],
)
def test_files_that_are_none_are_refused(name, content, words, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        convert(path.parent if "/" in name and content is not None else path)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"model_type": "resnet"}, "a folder with a model.safetensors.*save_pretrained"),
        ({"model_type": "resnet", "downsample_in_first_stage": True}, "downsample_in_first_stage"),
        ({"model_type": "resnet", "hidden_act": "gelu"}, "`hidden_act` must be 'relu'"),
        ({"model_type": "regnet"}, "`model_type` must be 'resnet'"),
        ({"architecture": "resnet50d"}, "a folder with a model.safetensors"),
        ({"architecture": "resnet50t"}, "a ResNet, ResNet-D, Wide ResNet or ResNeXt.*resnet50t"),
        ({"registered_name": "keras_hub>ViTBackbone", "config": {}}, "ViTBackbone"),
        ({"registered_name": "keras_hub>ResNetBackbone"}, "`config` must be a dictionary"),
        ({"registered_name": "keras_hub>ResNetBackbone", "config": {}}, "`block_type` must be one"),
        ({"a": 1}, "a config.json with one of 'registered_name', 'model_type'"),
        ([], "a config.json with one of"),
        (1, "a config.json with one of"),
    ],
)
def test_folders_of_other_networks_are_refused(about, words, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match=words):
        convert(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_type", "basic_block_vd"),
        ("block_type", ["basic_block"]),
        ("stackwise_num_strides", [1, 1]),
        ("stackwise_num_strides", 1),
        ("stackwise_num_blocks", None),
        ("stackwise_num_blocks", [1, "2"]),
        ("stackwise_num_blocks", []),
    ],
)
def test_variants_of_keras_hub_are_refused(key, value, tmp_path):
    shutil.unpack_archive(GOLDEN / "keras_hub_basic.zip", tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    about["config"][key] = value
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match=key):
        convert(tmp_path)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("torchvision_bottleneck", "float32"),
        slow("timm_v2_basic", "float32"),
        slow("transformers_basic", "float32"),
        slow("basic", "float32"),
        slow("v2_basic", "float32"),
        slow("keras_v1", "float32"),
        thorough("keras_v2", "mixed_bfloat16"),
        slow("own", "mixed_bfloat16"),
    ],
)
@pytest.mark.thorough
def test_what_is_written_gives_probabilities(name, dtype, tmp_path, capsys, keras_resnet):
    """Of every layout, and of networks that were made for 16 bits."""
    source = tmp_path / "net.keras"
    if name in STATE_DICTS:
        source, _ = written(name, tmp_path)
    elif name in KERAS_HUB:
        source = tmp_path / "preset"
        shutil.unpack_archive(GOLDEN / f"keras_hub_{name}.zip", source)
    else:
        keras.config.set_dtype_policy(dtype)
        try:
            v2, small = name == "keras_v2", {"input_shape": (16, 16, 3), "classes": 5}
            logits = create_model("resnet8v2", classifier_activation=None, **small)
            theirs = keras_resnet(v2, (32, 32, 3), classes=5, classifier_activation=None)
            model = logits if name == "own" else theirs
        finally:
            keras.config.set_dtype_policy("float32")
        model.save(source)
    out = tmp_path / "out.keras"
    assert main(["convert", str(source), "--out", str(out)]) == 0
    assert "5 classes, probabilities" in capsys.readouterr().out
    opened = load_trained(out)
    assert (outputs_of(opened.model), opened.notes) == ("probabilities", ())
    size = (16, 16) if name == "own" else (32, 32)
    images = 255 * np.random.default_rng(0).random((2, *size, 3), "float32")
    scores = keras.ops.convert_to_numpy(opened.model(images))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("suffix", [".keras", ".safetensors", ".weights.h5"])
def test_the_command_writes_what_the_function_builds(suffix, tmp_path, capsys):
    source, outputs = written("timm_v2_basic", tmp_path)
    out = tmp_path / f"converted{suffix}"
    assert main(["convert", str(source), "--out", str(out)]) == 0
    assert "pre-activation ResNet of timm: resnet" in capsys.readouterr().out
    if suffix == ".keras":
        assert "keras_preact" not in json.dumps(keras.models.load_model(out).get_config())
    if suffix == ".safetensors":
        assert read_config(out) == read_source(source).config
        agree(convert(out, classifier_activation=None), outputs)


CRANES = dict(zip("01234", ("crane", "crane", "dog", "owl", "Owl"), strict=True))
UNNAMED = {str(k): f"LABEL_{k}" for k in range(5)}  # nobody has named them


def with_labels(labels, folder):
    """A folder of transformers whose config has labels, and that config without them."""
    folder, _ = written("transformers_basic", folder)
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, "id2label": labels}))
    return folder, about


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({str(k): f"kind {k}" for k in range(5)}, [f"kind {k}" for k in range(5)]),
        (CRANES, [*CRANES.values()]),
        (UNNAMED, None),
        ({"0": "of fewer classes"}, None),
        ({str(k): k for k in range(5)}, None),
        (["a", "list"], None),
    ],
)
def test_class_names_are_read(labels, names, tmp_path):
    folder, _ = with_labels(labels, tmp_path)
    found = read_source(folder).class_names
    assert found == (names and tuple(names))


@pytest.mark.parametrize(
    ("labels", "names"),
    [(CRANES, ["crane #0", "crane #1", "dog", "owl", "Owl"]), thorough(UNNAMED, None)],
)
@pytest.mark.thorough
def test_class_names_come_along(labels, names, tmp_path, capsys):
    folder, about = with_labels(labels, tmp_path)
    out = tmp_path / "out" / "net.keras"
    out.parent.mkdir()
    command = ["convert", str(folder), "--out", str(out)]
    assert main(command) == 0
    shown = [str(k) for k in range(5)] if names is None else names
    assert list(load_trained(out).class_names) == shown
    assert ("the class names" in capsys.readouterr().out) == (names is not None)
    beside, others = out.with_name("classes.json"), [*"abcde"]  # of all files in the folder
    beside.write_text(json.dumps(others))
    assert list(load_trained(out).class_names) == (names or others)
    beside.unlink()
    (folder / "config.json").write_text(json.dumps(about))
    if names:
        assert main(command) == 0  # a network without names takes its place
        assert list(load_trained(out).class_names) == [str(k) for k in range(5)]


def test_what_is_no_source(tmp_path):
    with pytest.raises(ConfigError, match="a model, a dictionary of arrays, or a path"):
        convert(None)
    source = read_source(golden("torchvision_basic")[0])
    with pytest.raises(ConfigError, match="one for the 3 channels"):
        dataclasses.replace(source, preprocessing=Preprocessing((1.0,), (1.0,)))
    weights = {"a": {"0": np.ones(3)}}
    with pytest.raises(ConfigError, match="a network with a stem_conv"):
        dataclasses.replace(source, weights=weights)


def test_class_names_of_timm_come_along(tmp_path):
    tensors, _ = golden("timm_v2_basic")
    save_file(tensors, tmp_path / "model.safetensors")
    about = {"architecture": "resnetv2_18", "label_names": [*"abcde"]}
    (tmp_path / "config.json").write_text(json.dumps(about))
    assert read_source(tmp_path).class_names == tuple("abcde")


def test_what_goes_wrong_leaves_the_file_as_it_was(tmp_path, monkeypatch, capsys):
    source, _ = written("timm_v2_basic", tmp_path)
    out = tmp_path / "net.keras"
    out.write_bytes(b"kept")
    names = tmp_path / "net.classes.json"
    names.write_text('["a"]')

    def fill_the_disk(model, path):
        pathlib.Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", fill_the_disk)
    assert main(["convert", str(source), "--out", str(out)]) == 1
    assert "The weights could not be written" in capsys.readouterr().err
    assert out.read_bytes() == b"kept" and not [*tmp_path.glob(".partial*")]
    assert names.read_text() == '["a"]'


def test_mistakes_at_the_command_line(tmp_path, capsys):
    source, _ = written("timm_v2_basic", tmp_path)
    assert main(["convert", str(source), "--out", "net.h5"]) == 2
    assert main(["convert", str(tmp_path / "none"), "--out", "net.keras"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("Received: " in line for line in lines)
    for suffix in (".keras", ".safetensors", ".weights.h5"):
        out = str(tmp_path / "none" / f"net{suffix}")
        assert main(["convert", str(source), "--out", out]) == 1
        assert "The weights could not be written" in capsys.readouterr().err
