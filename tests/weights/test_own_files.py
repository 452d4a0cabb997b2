"""What this package builds, converts and exports it also opens."""

import typing

import keras
import numpy as np
import pytest
from keras.src.applications import convnext

from keras_preact import (
    ResNetConfig,
    accelerate,
    build_network,
    create_model,
    fold_batch_norm,
    list_models,
    load_trained,
    model_info,
    portable,
)
from keras_preact.errors import ConfigError
from keras_preact.rewrite import any_size, dense, outputs_of
from keras_preact.training import freeze, replace_head
from keras_preact.weights import refuse_unsafe
from keras_preact.weights.layouts import LAYOUTS

BASE = ResNetConfig(units=(1, 1), filters=(8, 16), stem_filters=8)

#: Values of fields that are no choices from a list.
OTHERS = {
    "activation": ["relu", "prelu", "prelu_shared", "leaky_relu", "elu", "gelu"],
    "pyramid": [(2, 1)],
    "dense": [(6,)],
    "projection_norm": [True, False],
    "shortcut_scale": [0.5],
    "branch_scale": [0.5],
}


def choices(hint):
    """The values of a field that an annotation lists."""
    if typing.get_origin(hint) is typing.Literal:
        return [*typing.get_args(hint)]
    if hint is bool:
        return [True, False]
    return [value for one in typing.get_args(hint) for value in choices(one)]


def values():
    """`(field, value)` of different networks, but for how weights begin."""
    found = {}
    for field, hint in typing.get_type_hints(ResNetConfig).items():
        if not field.startswith("initializer"):
            for value in OTHERS.get(field, choices(hint)):
                found.setdefault(with_field(field, value), (field, value))
    return [*found.values()]


def with_field(field, value):
    """A config with the value, and with what it needs beside it."""
    needs = {
        "stem_pool_padding": {"stem_pool": True},
        "stem_pool_size": {"stem_pool": True},
        "subsample_shortcut": {"projection": "A"},
        "pyramid": {"placement": "original", "shortcut": "none", "downsample_by": "max_pool"},
        "normalization": {"norm_groups": 8},
        "dense": {"pyramid": (1,), "placement": "original", "shortcut": "none"},
    }
    changes = {**needs.get(field, {}), field: value}
    for more in ({}, {"block": "bottleneck"}, {"placement": "original"}, {"shortcut": "none"},
                 {"projection": "B"}, {"placement": "original", "shortcut": "none"},
                 {"shortcut": "none", "downsample_by": "max_pool"}):  # fmt: skip
        try:
            return BASE.replace(**{**more, **changes})
        except ConfigError as error:
            refused = error
    raise refused


def opens(config, tmp_path, **fields):
    """A network as it is passes the look ahead of opening; as runs keep it, it is opened."""
    model = build_network(config, **{"input_shape": (16, 16, 3), "classes": 3, **fields})
    model.save(tmp_path / "own.keras")
    refuse_unsafe(tmp_path / "own.keras")
    kept = portable(model)
    kept.save(tmp_path / "kept.keras")
    opened = load_trained(tmp_path / "kept.keras")
    assert (outputs_of(opened.model), opened.notes) == ("probabilities", ())
    shapes = [[weight.shape for weight in one.weights] for one in (opened.model, kept)]
    assert shapes[0] == shapes[1]


@pytest.mark.sample(56)
@pytest.mark.parametrize(("field", "value"), values(), ids=str)
def test_every_value_of_every_field(field, value, tmp_path):
    opens(with_field(field, value), tmp_path)


@pytest.mark.sample(12)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout(layout, tmp_path):
    opens(BASE.replace(**layout.fields), tmp_path, input_shape=(32, 32, 3))


def small(**fields):
    return create_model("resnet8v2", **{"input_shape": (32, 32, 3), "classes": 3, **fields})


def compiled():
    """As people save them: with an optimiser, a schedule and metrics."""
    model = small()
    rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
    metrics = ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)]
    model.compile(keras.optimizers.AdamW(rate), "sparse_categorical_crossentropy", metrics=metrics)
    model.fit(np.zeros((2, 32, 32, 3)), np.zeros(2), verbose=0)
    return model


def with_pyramid():
    config = with_field("pyramid", (2, 1))
    return build_network(config, input_shape=(32, 32, 3), classes=3)


def new_head():
    model = replace_head(small(), 3)
    freeze(model, up_to="stage2")
    return model


def of_keras(build, **fields):
    return build(weights=None, input_shape=(32, 32, 3), classes=3, **fields)


MADE = {
    "any size": lambda: any_size(small()),
    "built for any size": lambda: small(input_shape=(None, None, 3)),
    "windows": lambda: dense(with_pyramid()),
    "folded": lambda: fold_batch_norm(small()),
    "recomputed": lambda: small(recompute=True, packaging="repeated"),
    "16 bits": lambda: small(dtype="mixed_bfloat16"),
    "frozen, with a new head": new_head,
    "compiled": compiled,
    "accelerated": lambda: accelerate(of_keras(keras.applications.MobileNetV2)),
    "ConvNeXt": lambda: of_keras(convnext.ConvNeXt, depths=[1] * 4, projection_dims=[4] * 4),
}
SLOW = ("accelerated", "folded")


@pytest.mark.sample(9)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MADE]
)
def test_whatever_it_was_made_by(name, tmp_path):
    """What the functions of this package give is opened as they leave it, and so are Keras's."""
    model = MADE[name]()
    model.save(tmp_path / "net.keras")
    opened = load_trained(tmp_path / "net.keras")
    assert (outputs_of(opened.model), opened.notes) == ("probabilities", ())
    images = 255 * np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    found, expected = (keras.ops.convert_to_numpy(m(images)) for m in (opened.model, model))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def kinds():
    """One of the registered networks for each set of fields but for their depth."""
    found = {}
    for name in list_models():
        config = model_info(name).config
        fields = config.replace(units=(1,) * len(config.units)).to_json()
        found.setdefault(fields, name)
    return [*found.values()]


@pytest.mark.slow
@pytest.mark.parametrize("name", kinds())
def test_every_registered_network(name, tmp_path):
    config = model_info(name).config
    few = config.replace(units=(1,) * len(config.units))
    opens(few, tmp_path, input_shape=model_info(name).input_shape)
