"""The builder: packagings, input sizes, heads, dtypes, and the arguments it refuses."""

import sys

import keras
import numpy as np
import pytest

from keras_preact import ResNetConfig, build_network, count_multiply_adds, residual_unit
from keras_preact.errors import ConfigError
from keras_preact.initializers import he_normal
from keras_preact.layers import Repeat
from keras_preact.residual.network import _packaging
from keras_preact.residual.parts import Parts
from keras_preact.weights import load_weights_by_layer, weights_by_layer

SMALL = ResNetConfig(units=(1, 2), filters=(4, 8), stem_filters=4)


PACKAGINGS = {"flat": keras.layers.Conv2D, "nested": keras.Model, "repeated": Repeat}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("packaging", PACKAGINGS)
@pytest.mark.sample(6)
def test_packagings_have_the_graph_that_they_promise(packaging, recompute):
    if recompute and packaging == "flat":
        with pytest.raises(ConfigError, match="recompute=True works a unit at a time"):
            build_network(SMALL, input_shape=(9, 8, 3), packaging="flat", recompute=True)
        return
    config = SMALL.replace(units=(1, 5))
    model = build_network(config, input_shape=(9, 8, 3), packaging=packaging, recompute=recompute)
    graph = [layer.name for layer in model.layers if layer.name.startswith("stage")]
    units = [f"stage2_unit{k}" for k in range(1, 6)]
    expected = {
        "nested": ["stage1_unit1", "stage1", *units, "stage2"],
        "repeated": ["stage2_units", "stage2"],
    }
    if packaging in expected:
        assert [name for name in graph if name in expected[packaging]] == expected[packaging]
    repeats = [layer for layer in model.layers if isinstance(layer, Repeat)]
    assert all(layer.recompute == recompute for layer in repeats)
    flat = build_network(config, input_shape=(9, 8, 3), packaging="flat")
    assert weights_by_layer(model).keys() == weights_by_layer(flat).keys()
    assert count_multiply_adds(flat) == count_multiply_adds(model)
    assert flat.count_params() == model.count_params()


def test_auto_packaging_follows_the_number_of_layers():
    def repeats(units, **arguments):
        config = SMALL.replace(units=(units, units))
        model = build_network(config, input_shape=(8, 8, 3), **arguments)
        return sum(isinstance(layer, Repeat) for layer in model.layers)

    assert repeats(3) == 0
    assert repeats(48) == 2
    assert repeats(3, recompute=True) == 4
    with pytest.raises(ConfigError, match=r"recursively.*packaging='repeated'"):
        build_network(SMALL.replace(units=(57, 57)), input_shape=(8, 8, 3), packaging="flat")
    with pytest.raises(ConfigError, match="packaging='nested' would chain"):
        build_network(SMALL.replace(units=(500, 500)), input_shape=(8, 8, 3), packaging="nested")


@pytest.mark.parametrize(("block", "units"), [("basic", 93), ("bottleneck", 68), ("single", 150)])
def test_auto_packaging_is_flat_up_to_750_chained_layers(block, units):
    """Norm, act and conv of each weight layer and two that join the paths: 744, 748 and 750."""
    config = ResNetConfig(block=block, units=(units,), filters=(16,))
    assert _packaging(config, "auto", False) == "flat"
    assert _packaging(config.replace(units=(units + 1,)), "auto", False) == "repeated"


@pytest.mark.thorough
def test_weights_of_another_network_are_refused_by_name():
    weights = weights_by_layer(build_network(SMALL, input_shape=(8, 8, 3)))

    def load(**arguments):
        load_weights_by_layer(build_network(**{"input_shape": (8, 8, 3), **arguments}), weights)

    load(config=SMALL, include_top=False)
    with pytest.raises(ConfigError, match="they have no 'stage2_unit3_conv1'"):
        load(config=SMALL.replace(units=(1, 3)))
    with pytest.raises(ConfigError, match=r"'stage2_unit2_conv1'.* are not in the network"):
        load(config=SMALL.replace(units=(1, 1)))
    with pytest.raises(ConfigError, match=r"'predictions' has the shapes.*\(8, 7\)"):
        load(config=SMALL, classes=7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_of_a_training_that_diverged_are_refused(value):
    model = build_network(SMALL, input_shape=(8, 8, 3))
    before, weights = weights_by_layer(model), weights_by_layer(model)
    next(iter(weights["predictions"].values()))[0] = value
    weights["stem_conv"] = {key: 0 * kernel for key, kernel in weights["stem_conv"].items()}
    with pytest.raises(ConfigError, match=r"finite numbers.*Received: .*in 'predictions'"):
        load_weights_by_layer(model, weights)
    for name, values in weights_by_layer(model).items():
        for key, kept in values.items():
            np.testing.assert_array_equal(kept, before[name][key])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "block", "packaging"),
    [
        (1001, "bottleneck", "repeated"),
        (1001, "bottleneck", "nested"),
        (1202, "basic", "repeated"),
        (1202, "basic", "nested"),
    ],
)
def test_a_thousand_layers_save_and_load_at_the_default_recursion_limit(
    depth, block, packaging, tmp_path
):
    units = (depth - 2) // {"bottleneck": 9, "basic": 6}[block]
    config = ResNetConfig(block=block, units=(units,) * 3, projection="B")
    assert config.depth == depth
    assert sys.getrecursionlimit() == 1000
    model = build_network(config, input_shape=(8, 8, 3), packaging=packaging)
    model.save(tmp_path / "deep.keras")
    again = keras.models.load_model(tmp_path / "deep.keras")
    assert again.count_params() == model.count_params()


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (1, 5), (33, 32)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.sample(12)
def test_any_size_and_channels(size, channels, randomize):
    model = build_network(SMALL, input_shape=(*size, channels), include_top=False)
    assert model.output_shape == (None, -(-size[0] // 2), -(-size[1] // 2), 8)
    randomize(model)
    dynamic = build_network(SMALL, input_shape=(None, None, channels), include_top=False)
    dynamic.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(2, *size, channels)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(x))
    assert expected.std() > 0
    np.testing.assert_allclose(dynamic(x), expected, rtol=1e-5, atol=1e-6)


def test_every_size_leaves_both_paths_aligned():
    # Symmetric padding: output pixel k of a strided convolution is centred on pixel 2k.
    for size in (7, 8):
        model = build_network(
            SMALL.replace(shortcut="none"), input_shape=(size, size, 1), include_top=False
        )
        for weight in model.weights:
            if weight.path.endswith("kernel"):
                kernel = np.zeros(weight.shape, "float32")
                kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, 0, 0] = 1.0
                weight.assign(kernel)
        x = np.arange(1.0, size * size + 1).reshape(1, size, size, 1).astype("float32")
        y = keras.ops.convert_to_numpy(model(x))[0, :, :, 0]
        ratio = y / x[0, ::2, ::2, 0]
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)


def test_input_tensor_after_other_layers():
    inputs = keras.Input((8, 8, 6), name="raw")
    x = keras.layers.Conv2D(3, 1, name="squeeze")(inputs)
    model = build_network(SMALL, input_tensor=x)
    assert model.input_shape == (None, 8, 8, 6)
    assert model.get_layer("squeeze") is not None
    build_network(SMALL, input_tensor=x, input_shape=[8, 8, 3])  # which says the same again
    twice = keras.layers.Concatenate()([keras.Input((8, 8, 1)), keras.Input((8, 8, 2))])
    assert len(build_network(SMALL, input_tensor=twice).inputs) == 2


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64", "float32"])
@pytest.mark.parametrize("by", ["argument", "global"])
@pytest.mark.sample(3)
def test_head_is_full_precision_under_mixed_policies(policy, by):
    if by == "global":
        keras.config.set_dtype_policy(policy)
    model = build_network(SMALL, input_shape=(8, 8, 3), dtype=policy if by == "argument" else None)
    compute = policy.removeprefix("mixed_")
    head = "float64" if policy == "float64" else "float32"
    assert model.get_layer("stage1_unit1_conv1").compute_dtype == compute
    assert model.get_layer("predictions").compute_dtype == head
    assert model.get_layer("avg_pool").compute_dtype == head
    assert str(model.output.dtype) == head
    assert {str(w.dtype) for w in model.trainable_weights} == {head}
    model.compile("sgd", "mse")
    scales = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales == (policy == "mixed_float16")


def test_whole_numbers_may_be_numpys():
    size = np.int64(8)
    model = build_network(SMALL, input_shape=(size, size, np.int32(3)), classes=np.int64(4))
    assert model.output_shape == (None, 4)
    assert SMALL.replace(stem_filters=np.int64(4)) == SMALL


@pytest.mark.parametrize("pooling", [None, "avg", "max"])
def test_without_top(pooling):
    model = build_network(SMALL, input_shape=(8, 8, 3), include_top=False, pooling=pooling)
    assert model.output_shape == ((None, 4, 4, 8) if pooling is None else (None, 8))


@pytest.mark.thorough
def test_channels_first_is_the_same_network():
    config = SMALL.replace(activation="prelu", stem_pool=True, shortcut="exclusive_gating")
    last = build_network(config, input_shape=(9, 8, 3), data_format="channels_last")
    first = build_network(config, input_shape=(3, 9, 8), data_format="channels_first")
    assert first.count_params() == last.count_params()
    shape = first.get_layer("stage2").output.shape
    assert (shape[2], shape[3], shape[1]) == last.get_layer("stage2").output.shape[1:]
    assert count_multiply_adds(first) == count_multiply_adds(last)
    if keras.backend.backend() == "tensorflow":
        return  # TensorFlow's CPU kernels are channels last
    first.set_weights([
        w.reshape(target.shape) for w, target in zip(last.get_weights(), first.weights, strict=True)
    ])  # fmt: skip
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype("float32")
    np.testing.assert_allclose(first(np.moveaxis(x, -1, 1)), last(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"input_shape": None}, "input_shape"),
        ({"input_shape": (8, 8)}, r"input_shape=\(8, 8\)"),
        ({"input_shape": (8, 8, None)}, "only height and width may be None"),
        ({"input_shape": (0, 8, 3)}, "at least 1"),
        ({"input_shape": "8x8x3"}, "input_shape='8x8x3'"),
        ({"input_tensor": np.zeros((1, 8, 8, 3))}, "Keras tensor"),
        ({"classes": 0}, "classes"),
        ({"classes": ["a", "b"]}, "whole number"),
        ({"classes": True}, "whole number"),
        ({"include_top": "no"}, "include_top"),
        ({"recompute": "yes"}, "`recompute` must be True or False"),
        ({"dtype": "float23"}, "dtype='float23'"),
        ({"input_tensor": keras.Input((8, 9, 3))}, "equal to the shape of `input_tensor`"),
        ({"input_tensor": keras.Input((8, 7, 3))}, "equal to the shape of `input_tensor`"),
        ({"input_tensor": keras.Input((8, 3)), "input_shape": None}, "of rank 4"),
        ({"input_tensor": keras.Input((8, 8, 8, 3)), "input_shape": None}, "of rank 4"),
        (
            {"input_tensor": keras.Input((8, 8, None)), "input_shape": None},
            "known number of channels",
        ),
        ({"pooling": "mean"}, "'avg', 'max'"),
        ({"classifier_activation": "softmaxx"}, "classifier_activation='softmaxx'"),
        ({"packaging": "loop"}, "'flat', 'nested'"),
        ({"data_format": "nhwc"}, "channels_last"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, words):
    with pytest.raises(ConfigError, match=words) as caught:
        build_network(SMALL, **{"input_shape": (8, 8, 3), **arguments})
    assert "\n" not in str(caught.value)


def test_multiply_adds_need_a_size():
    with pytest.raises(ConfigError, match="input_shape"):
        count_multiply_adds(build_network(SMALL, input_shape=(None, None, 3)))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["zeros", "excluded"])
@pytest.mark.sample(4)
def test_the_border_of_the_stems_pooling(padding, data_format):
    negative = -1 - np.arange(2 * 5 * 4, dtype="float32").reshape(2, 5, 4, 1)
    images = np.moveaxis(negative, -1, 1) if data_format == "channels_first" else negative
    padded = Parts(SMALL, data_format).pad(images, 1, "pad", padding)
    padded = np.asarray(padded).reshape(2, 7, 6)
    found = np.stack(
        [padded[:, i : i + 3, j : j + 3].max((1, 2)) for i in (0, 2, 4) for j in (0, 2)]
    )
    border = 0 if padding == "zeros" else -np.inf
    expected = np.pad(negative[..., 0], [(0, 0), (1, 1), (1, 1)], constant_values=border)
    expected = [expected[:, i : i + 3, j : j + 3].max((1, 2)) for i in (0, 2, 4) for j in (0, 2)]
    np.testing.assert_array_equal(found, np.stack(expected))
    stem = SMALL.replace(stem_pool=True, stem_pool_padding=padding)
    model = build_network(stem, input_shape=(8, 8, 3), data_format="channels_last")
    layers = [type(layer).__name__ for layer in model.layers]
    assert ("ZeroPadding2D" in layers[: layers.index("MaxPooling2D")][-1:]) == (padding == "zeros")


@pytest.mark.parametrize("filters", [(8, 8), (4, 8), (8, 4)])
def test_shortcuts_that_change_the_channels_start_at_the_activated_tensor(filters):
    """Whether the channels rise or fall (2016, appendix); other shortcuts start at the input."""
    fields = {"filters": filters, "stem_filters": filters[0], "downsample_by": "max_pool"}
    config = SMALL.replace(placement="full_preactivation", projection="B", **fields)
    model = build_network(config, input_shape=(8, 8, 3), packaging="flat")
    start = {layer.name: layer.input for layer in model.layers}
    act = model.get_layer("stage2_unit1_act1").output
    if filters[0] == filters[1]:
        assert "stage2_unit1_shortcut_conv" not in start
        assert any(source is model.get_layer("stage2_pool").output
                   for source in model.get_layer("stage2_unit1_add").input)  # fmt: skip
    else:
        assert start["stage2_unit1_shortcut_conv"] is act


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_poolings_of_even_sizes_lose_no_border(data_format):
    """Padded, the output is ceil(size / stride); unpadded, whole windows alone."""
    parts = Parts(SMALL, data_format)
    x = keras.Input((3, 5, 7) if data_format == "channels_first" else (5, 7, 3))
    for padded, expected in ((True, (3, 4)), (False, (2, 3))):
        shape = parts.max_pool(x, 2, 2, f"pool{padded}", padded=padded).shape
        assert (shape[2:] if data_format == "channels_first" else shape[1:3]) == expected


def test_a_padded_kernel_may_be_larger_than_the_image():
    model = build_network(SMALL.replace(stem_kernel=7), input_shape=(2, 2, 3))
    assert model.get_layer("stem_conv").output.shape == (None, 2, 2, 4)


def test_a_unit_by_itself_is_none_after_a_stem():
    """It begins with its own norm and activation, as all but the first of a network do."""
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, residual_unit(inputs, 4, name="unit"))
    assert [layer.name for layer in model.layers][1:4] == ["unit_norm1", "unit_act1", "unit_conv1"]


def test_the_defaults_are_resnet_20_v2_of_the_paper():
    config = ResNetConfig()
    assert (config.depth, config.units, config.filters) == (20, (3, 3, 3), (16, 32, 64))
    assert (config.norm_epsilon, config.norm_momentum) == (1e-5, 0.9)
    assert (config.shortcut_scale, config.branch_scale, config.gate_bias) == (0.5, 0.5, -6)


def test_each_kernel_has_one_initializer(monkeypatch):
    """Each takes a seed from Python's generator: one more would change all that follow."""
    made = []

    def counted(*arguments, **others):
        made.append(he_normal(*arguments, **others))
        return made[-1]

    monkeypatch.setattr("keras_preact.residual.parts.he_normal", counted)
    model = build_network(SMALL, input_shape=(8, 8, 3), packaging="flat")
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert made == [layer.kernel_initializer for layer in convolutions]
