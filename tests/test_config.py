"""`ResNetConfig`: defaults, JSON, the rules that refuse a combination, and what messages say."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_preact.config import Block, Placement, ResNetConfig, Shortcut
from keras_preact.errors import ConfigError

BLOCKS, PLACEMENTS, SHORTCUTS = Block.__args__, Placement.__args__, Shortcut.__args__

BOTTLENECK = {"block": "bottleneck", "projection": "B"}
ORDER = ("conv", "norm", "act", "conv", "add")

configs = st.builds(
    dict,
    block=st.sampled_from(BLOCKS),
    units=st.lists(st.integers(1, 200), min_size=3, max_size=3),
    placement=st.sampled_from(PLACEMENTS),
    shortcut=st.sampled_from(SHORTCUTS),
    gate_bias=st.floats(-20, 20),
    shortcut_scale=st.floats(0, 2),
    dropout_rate=st.floats(0, 1, exclude_max=True),
    projection=st.sampled_from("ABC"),
    projection_norm=st.sampled_from([None, True, False]),
    activation=st.sampled_from(["relu", "prelu", "prelu_shared", "leaky_relu", "elu"]),
    norm_epsilon=st.floats(1e-8, 1e-1),
    stem_kernel=st.sampled_from([1, 3, 5, 7]),
)


@given(configs)
def test_every_legal_config_survives_json(fields):
    try:
        config = ResNetConfig(**fields)
    except ConfigError:
        return
    again = ResNetConfig.from_json(config.to_json())
    assert again == config
    assert hash(again) == hash(config)
    assert set(json.loads(config.to_json())) == set(ResNetConfig.field_names())


def test_every_field_can_be_changed_by_replace_and_survives():
    other = {
        "block": "bottleneck", "units": (1, 2), "filters": (4, 8), "placement": "original",
        "shortcut": "dropout", "projection": "B", "projection_input": "raw",
        "projection_norm": True, "subsample_shortcut": "max_pool", "stride_on": "3x3",
        "downsample_by": "stride", "stem_padded": False, "pyramid": (2, 1), "dense": (8,),
        "downsample_at": "last_unit", "first_unit_entry": "stem", "activation": "prelu",
        "negative_slope": 0.1, "initializer": "he_normal", "initializer_mode": "fan_in",
        "initializer_truncated": True, "initializer_slope_aware": True, "normalization": "batch",
        "conv_bias": "always", "stem_pool": True, "stem_pool_padding": "excluded",
        "order": (), "stochastic_depth": 0.5, "stochastic_depth_rule": "uniform",
        "stochastic_depth_by": "image", "residual_scale": 0.5, "zero_init": False,
        "weight_standardization": True,
        "projection_stride": "avg_pool", "width": 2.0, "groups": 2,
        "branch_dropout": 0.3, "stem": "deep", "stem_kernel": 3, "stem_filters": 6,
    }  # fmt: skip
    numbers = {
        field.name: field.default / 2 if isinstance(field.default, float) else 5
        for field in dataclasses.fields(ResNetConfig)
        if field.name not in other
    }
    changed = ResNetConfig().replace(**other, **numbers)
    assert ResNetConfig.from_dict(changed.to_dict()) == changed
    for name, value in {**other, **numbers}.items():
        assert getattr(changed, name) == value


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"units": (3, 3)}, ["one entry per stage", "units=(3, 3)"]),
        ({"units": (3, 3, 3, 3)}, ["one entry per stage", "units=(3, 3, 3, 3)"]),
        ({"units": ()}, ["units", "at least 1"]),
        ({"units": (3, 0, 3)}, ["units", "(3, 0, 3)"]),
        ({"units": 3}, ["units", "list", "Received: units=3"]),
        ({"units": (3, 3, 2.5)}, ["units[2]", "whole number", "2.5"]),
        ({"block": "botleneck"}, ["'basic'", "Did you mean 'bottleneck'?"]),
        ({"placement": "preact"}, ["'full_preactivation'", "placement='preact'"]),
        ({"order": ["conv", "relu", "conv", "add"]}, ["'norm', 'act', 2 times 'conv'", "'relu'"]),
        ({"order": ["conv", "norm", "add"]}, ["2 times 'conv'"]),
        ({"order": ["conv", "conv", "act"]}, ["behind them 'add'"]),
        ({"order": ["conv", "add", "conv"]}, ["behind them 'add'"]),
        ({"order": ["act", "act", "conv", "conv", "add"]}, ["without a step twice"]),
        ({"order": ORDER, "placement": "original"}, ["only one of the two", "'original'"]),
        ({"stochastic_depth": 1.0}, ["stochastic_depth", "in [0, 1)"]),
        ({"stochastic_depth": 0.5, "shortcut": "none"}, ["nothing is left of a unit"]),
        ({"order": ORDER, "shortcut": "none"}, ["which a plain net", "does not have"]),
        ({"order": ORDER, "first_unit_entry": "unit"}, ["pre-activation", "order=('conv'"]),
        ({"order": (*ORDER, "norm"), "normalization": "none"}, ["order=('conv'", "needs"]),
        ({"gate_bias": "six"}, ["gate_bias", "finite number"]),
        ({"gate_bias": float("nan")}, ["gate_bias", "finite number"]),
        ({"dropout_rate": 1.0}, ["dropout_rate", "[0, 1)"]),
        ({"stem_kernel": 4}, ["stem_kernel", "odd"]),
        ({"norm_epsilon": 0.0}, ["norm_epsilon", "above 0"]),
        ({"shortcut": "none", "placement": "bn_after_addition"}, ["plain net", "no addition"]),
        ({"shortcut": "none", "placement": "relu_before_addition"}, ["plain net", "no addition"]),
        ({"shortcut": "none", "projection": "C"}, ["plain net", "projection='C'"]),
        ({"filters": (32, 16, 64)}, ["Option A", "projection='B'"]),
        ({"stem_filters": 32}, ["Option A", "(32, 16, 32, 64)"]),
        (
            {"placement": "bn_after_addition", "normalization": "none"},
            ["bn_after_addition", "normalization='batch'"],
        ),
        ({"projection_norm": True, "normalization": "none"}, ["projection_norm=True"]),
        (
            {"placement": "original", "first_unit_entry": "unit"},
            ["pre-activation", "placement='original'"],
        ),
        ({"negative_slope": 0.1}, ["prelu", "activation='relu'"]),
        (
            {"initializer": "xavier_normal", "initializer_slope_aware": True},
            ["equation 15", "he_normal"],
        ),
        ({"stem_pool": 1}, ["stem_pool", "True or False"]),
        ({"stem_pool_size": 0}, ["stem_pool_size", "at least 1"]),
        ({"pyramid": (2, 0)}, ["pyramid", "may be empty", "(2, 0)"]),
        ({"dense": (-8,)}, ["dense", "may be empty", "(-8,)"]),
        ({"dense_dropout": 1.0}, ["dense_dropout", "[0, 1)"]),
        ({"dense_stddev": 0.0}, ["dense_stddev", "above 0"]),
        (
            {"downsample_by": "max_pool", "downsample_at": "last_unit"},
            ["needs downsample_by='stride'", "downsample_by='max_pool'"],
        ),
        ({"width": 0.0, **BOTTLENECK}, ["width", "above 0"]),
        ({"groups": 0, **BOTTLENECK}, ["groups", "at least 1"]),
        ({"width": 2}, ["block='bottleneck'", "width=2, groups=1"]),
        ({"groups": 2}, ["block='bottleneck'", "width=1, groups=2"]),
        ({"groups": 32, **BOTTLENECK}, ["multiple of `groups`", "filters=16, width=1, groups=32"]),
        ({"width": 0.3, **BOTTLENECK}, ["multiple of `groups`", "filters=16, width=0.3"]),
        ({"branch_dropout": 1.0}, ["branch_dropout", "[0, 1)"]),
        ({"branch_dropout": 0.3, "block": "single"}, ["between two convolutions", "'single'"]),
        ({"projection_stride": "avg_pool"}, ["projection 'B' or 'C'", "projection='A'"]),
        ({"stem": "deep", "stem_kernel": 7}, ["three 3x3", "stem_kernel=7"]),
        ({"stem": "deep", "stem_filters": 15}, ["half of the filters", "stem_filters=15"]),
        ({"block": "basic2x2"}, ["keep the spatial size", "downsample_by='stride'"]),
    ],
    ids=str,
)
def test_illegal_values_are_refused_with_the_rule(fields, words):
    with pytest.raises(ConfigError) as caught:
        ResNetConfig(**fields)
    message = str(caught.value)
    assert "\n" not in message
    assert "Received: " in message
    for word in words:
        assert word in message


def test_pairs_of_2x2_convolutions_that_keep_the_maps_size_may_be_one_stage():
    assert ResNetConfig(block="basic2x2", units=(2,), filters=(16,)).depth == 6


def test_unknown_fields_get_a_near_match():
    for make in (ResNetConfig.from_dict, lambda values: ResNetConfig().replace(**values)):
        with pytest.raises(ConfigError, match=r"Did you mean 'gate_bias'\?"):
            make({"gate_bais": -3.0})
    with pytest.raises(ConfigError, match="JSON"):
        ResNetConfig.from_json("{")
    with pytest.raises(ConfigError, match="JSON object"):
        ResNetConfig.from_json("[1]")


@pytest.mark.parametrize(
    ("block", "units", "depth"),
    [("basic", 18, 110), ("basic", 200, 1202), ("bottleneck", 18, 164), ("single", 36, 110)],
)
def test_depth_counts_weight_layers_as_the_papers_do(block, units, depth):
    config = ResNetConfig(block=block, units=(units,) * 3, projection="B")
    assert config.depth == depth
    assert config.replace(dense=(64, 64)).depth == depth + 2


def test_a_file_from_before_a_field_was_there_is_still_read():
    new = ("downsample_by", "stem_padded", "stem_pool_size", "stem_pool_stride", "pyramid",
           "dense", "dense_dropout", "dense_stddev")  # fmt: skip
    values = ResNetConfig(stem_pool=True).to_dict()
    old = {name: value for name, value in values.items() if name not in new}
    assert ResNetConfig.from_dict(old) == ResNetConfig(stem_pool=True)


def test_slope_follows_the_activation():
    slopes = {"relu": 0.0, "prelu": 0.25, "prelu_shared": 0.25, "leaky_relu": 0.01}
    for activation, slope in slopes.items():
        assert ResNetConfig(activation=activation).slope == slope
    assert ResNetConfig(activation="prelu", negative_slope=0.0).slope == 0.0
