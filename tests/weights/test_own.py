"""Networks of this package as a source: runs, their files, and graphs in every packaging."""

import shutil

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, build_network, convert, load_trained, portable
from keras_preact.cli import main
from keras_preact.errors import ConfigError
from keras_preact.placements import PLACEMENTS
from keras_preact.run import RunFolder
from keras_preact.shortcuts import SHORTCUTS
from keras_preact.weights import Preprocessing, read_source, save_named

SHAPE = (24, 24, 3)
IMAGES = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype("float32")

#: Each is another function of the same arrays, or has other layers.
FIELDS = [
    {},
    {"placement": "original", "projection": "B", "projection_norm": False},
    {"placement": "bn_after_addition", "conv_bias": "without_norm"},
    {"placement": "relu_before_addition", "conv_bias": "always"},
    {"placement": "relu_only_preactivation", "projection": "C", "norm_epsilon": 1e-2},
    {"first_unit_entry": "unit", "projection_input": "raw", "projection": "B"},
    {"first_unit_entry": "branch", "stem_pool": True, "stem_pool_padding": "excluded"},
    {"first_unit_entry": "both", "projection_input": "raw"},
    {"shortcut": "constant_scaling", "shortcut_scale": 0.3},
    {"shortcut": "exclusive_gating", "activation": "prelu"},
    {"shortcut": "shortcut_only_gating", "projection": "B", "activation": "swish"},
    {"shortcut": "dropout", "activation": "leaky_relu", "negative_slope": 0.2},
    {"shortcut": "none", "normalization": "none", "activation": "prelu_shared"},
    {"block": "bottleneck", "projection": "B", "stride_on": "3x3", "downsample_at": "last_unit",
     "subsample_shortcut": "max_pool"},
    {"block": "single", "stem_kernel": 7, "stem_stride": 2, "stem_padded": False},
    {"block": "basic2x2", "downsample_by": "max_pool", "stem_pool": True, "stem_pool_size": 2},
    {"pyramid": (2, 1), "dense": (6, 5)},
    {"order": ("conv", "act", "conv", "norm", "add", "act", "norm")},
    {"order": ("act", "norm", "conv", "conv", "act", "norm", "add"), "first_unit_entry": "unit"},
    {"order": ("norm", "conv", "act", "conv", "norm", "act", "conv", "add"), "block": "bottleneck",
     "projection": "B"},
    {"stochastic_depth": 0.4, "projection": "B"},
    {"block": "bottleneck", "projection": "B", "width": 1.5, "groups": 3, "stem": "deep",
     "projection_stride": "avg_pool", "stride_on": "3x3", "placement": "original"},
    {"projection": "B", "projection_stride": "avg_pool", "branch_dropout": 0.3, "stem": "deep"},
    {"block": "bottleneck", "projection": "C", "projection_stride": "avg_pool", "groups": 2,
     "branch_dropout": 0.3, "stride_on": "3x3", "downsample_at": "last_unit",
     "first_unit_entry": "unit"},
    {"stochastic_depth": 0.2, "stochastic_depth_rule": "uniform", "stochastic_depth_by": "image"},
    {"residual_scale": "learned", "normalization": "none", "conv_bias": "without_norm"},
    {"residual_scale": "inverse_sqrt_units", "stochastic_depth": 0.2, "projection": "B"},
    {"normalization": "fixup", "dense": (5,)},
    {"normalization": "fixup", "placement": "original", "block": "bottleneck", "projection": "B"},
    {"normalization": "group", "norm_groups": 2, "weight_standardization": True},
    {"weight_standardization": True, "placement": "original", "projection": "B"},
]  # fmt: skip
#: Of the placements and the shortcuts those that are not among them.
FIELDS += [
    {field: name}
    for field, table in (("placement", PLACEMENTS), ("shortcut", SHORTCUTS))
    for name in table
    if name not in ("full_preactivation", "identity", "conv1x1")
    and not any(name == fields.get(field) for fields in FIELDS)
]


def network(fields, packaging):
    config = ResNetConfig(**{"units": (2, 3), "filters": (4, 8), "stem_filters": 4, **fields})
    arguments = {"classes": 3, "classifier_activation": None, "packaging": packaging}
    return build_network(config, input_shape=SHAPE, **arguments)


def agree(model, other, images=IMAGES):
    expected, found = (keras.ops.convert_to_numpy(m(images)) for m in (model, other))
    largest = max(1, np.abs(expected).max())
    assert np.ptp(expected, axis=0).max() > 1e-4 * largest, "the images must make a difference"
    np.testing.assert_allclose(found / largest, expected / largest, atol=1e-5)


def same_weights(source, other):
    assert source.weights.keys() == other.weights.keys()
    for layer, arrays in source.weights.items():
        np.testing.assert_equal(other.weights[layer], arrays)


@pytest.mark.parametrize(
    ("fields", "packaging"),
    [(fields, ("flat", "nested", "repeated")[k % 3]) for k, fields in enumerate(FIELDS)],
    ids=str,
)
@pytest.mark.sample(20)
def test_a_graph_says_what_it_is(fields, packaging, randomize, tmp_path):
    model = randomize(network(fields, packaging))
    portable(model).save(tmp_path / "net.keras")
    own, kept = read_source(model), read_source(tmp_path / "net.keras")
    agree(model, convert(kept, input_shape=SHAPE, classifier_activation=None))
    if own.config == kept.config:
        same_weights(own, kept)
    else:  # standardized weights are plain ones in the file
        agree(model, convert(own, input_shape=SHAPE, classifier_activation=None))


@pytest.mark.parametrize("mean", ["channel", "adapted", "pixel"])
@pytest.mark.sample(3)
def test_preprocessing_comes_along(mean, randomize, tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (3, *SHAPE)).astype("float32")
    if mean == "adapted":
        layer = keras.layers.Normalization()
        layer.adapt(images)
    else:
        axis = (1, 2, 3) if mean == "pixel" else -1
        numbers = images.mean(0) if mean == "pixel" else [1.0, 20.0, 100.0]
        layer = keras.layers.Normalization(axis, numbers, np.full_like(numbers, 50.0**2))
    inputs = keras.Input(SHAPE)
    config = ResNetConfig(units=(1,), filters=(4,), stem_filters=4)
    model = build_network(config, input_tensor=layer(inputs), classes=3)
    model = randomize(model) if mean != "adapted" else model
    model.save(tmp_path / "net.keras")
    (tmp_path / "net.classes.json").write_text('["a", "b", "c"]')
    source = read_source(tmp_path / "net.keras")
    assert source.class_names == ("a", "b", "c")
    agree(model, convert(source, include_preprocessing=True), images)
    save_named(convert(source), tmp_path / "net.safetensors", source.config, source.preprocessing)
    again = read_source(tmp_path / "net.safetensors")
    agree(model, convert(again, include_preprocessing=True), images)
    if mean == "pixel":
        first = source.preprocessing.layer("channels_first")(images.transpose(0, 3, 1, 2))
        np.testing.assert_allclose(np.transpose(first, (0, 2, 3, 1)), layer(images), atol=1e-5)


def test_shapes_fit_their_numbers():
    with pytest.raises(ConfigError, match="`shape` must be empty, or a shape of 3 numbers"):
        Preprocessing((1.0,) * 3, (1.0,) * 3, shape=(2, 2, 3))


def test_a_run_is_a_source(trained_run, tmp_path, capsys):
    """Its folder, and the file in that."""
    trained = load_trained(trained_run)
    folder, file = str(trained_run), str(trained_run / "model.keras")
    resolved = RunFolder(trained_run).read_json("resolved.json")
    sources = read_source(folder), read_source(file)
    for source in sources:
        assert source.config == ResNetConfig.from_dict(resolved["network"])
        assert source.class_names == trained.class_names
        assert source.preprocessing == sources[0].preprocessing
    same_weights(*sources)
    images = trained.load_data().test.images(np.arange(20)).astype("float32")
    assert main(["convert", file, "--out", str(tmp_path / "net.keras")]) == 0
    assert "network of this package: resnet8v2" in capsys.readouterr().out
    written = load_trained(tmp_path / "net.keras")
    assert written.class_names == trained.class_names
    agree(trained.model, written.model, images)
    assert main(["convert", folder, "--out", str(tmp_path / "net.safetensors")]) == 0
    again = read_source(tmp_path / "net.safetensors")
    agree(trained.model, convert(again, include_preprocessing=True), images)


def test_what_does_not_say_enough_is_refused(trained_run, tmp_path):
    network({}, "flat").save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(ConfigError, match="Pass the folder of its run"):
        read_source(tmp_path / "net.weights.h5")
    shutil.copytree(trained_run, tmp_path / "run")
    (tmp_path / "run" / "model.keras").unlink()
    with pytest.raises(ConfigError, match="`source` must be a finished run"):
        read_source(tmp_path / "run")
