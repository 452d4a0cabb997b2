"""The named networks: pinned figures against built networks, listing, and building by name."""

import inspect
import itertools
import math

import keras
import pytest

import keras_preact
from keras_preact import applications
from keras_preact.errors import ConfigError

NAMES = applications.list_models()
SLOW = [
    name
    for name in NAMES
    if applications.model_info(name).config.depth > 250
    or applications.model_info(name).reference == "osmr/imgclsmob"
]
DEEP = [name for name in NAMES if applications.model_info(name).config.depth > 1000]

# Trainable parameters that the papers print or that follow from their layer lists (biases only in
# the classifier, one scale and shift a normalised channel), and multiply-adds likewise.
PAPER_PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet110v2": 1_727_962,
    "resnet1202": 19_421_274,
    "resnet164": 1_704_154,
    "resnet164v2": 1_703_258,
    "resnet1001": 10_328_602,
    "resnet1001v2": 10_327_706,
}
# torchvision and timm (resnet50d, resnet101d), as their networks are built.
LATER = {
    "wideresnet50_2": 68_883_240,
    "wideresnet101_2": 126_886_696,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnet50d": 25_576_264,
    "resnet101d": 44_568_392,
}
# Delving Deep into Rectifiers: parameters of the convolutions, of the dense layers, and slopes, as
# they follow from its Tables 1 and 3; layers, and multiply-adds in 10^9, as Table 3 prints them.
RECTIFIER_NETS = {
    "rectifierneta": (25_014_400, 153_002_984, 14_688, 19, 19.0),
    "rectifiernetb": (30_324_096, 153_002_984, 15_968, 22, 23.2),
    "rectifiernetc": (78_509_952, 252_093_416, 20_576, 22, 53.0),
    "rectifiernet14": (1_682_688, 73_311_208, 10_304, 14, None),
    "rectifiernet30": (1_682_688 + 16 * 262_400, 73_311_208, 0, 30, None),
    "vgg13": (9_404_992, 123_642_856, 0, 13, None),
    "vgg19": (20_024_384, 123_642_856, 0, 19, 19.6),
}
# 2015, Table 1 and section 4.1, in 10^9.
PAPER_FLOPS = {
    "resnet18": 1.8,
    "resnet34": 3.6,
    "resnet50": 3.8,
    "resnet101": 7.6,
    "resnet152": 11.3,
    "plainnet34": 3.6,
}


def trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in NAMES]
)
@pytest.mark.sample(48)
def test_registered_figures_are_those_of_the_built_network(name):
    info = applications.model_info(name)
    # As loops, deep networks are built in a tenth of the time; their weights are the same.
    packaging = "repeated" if info.config.depth > 50 else "flat"
    # Shapes are all that is looked at, and some networks have a gigabyte of weights.
    with keras.StatelessScope(initialize_variables=False):
        model = applications.create_model(name, packaging=packaging)
    assert trainable(model) == info.parameters
    assert keras_preact.count_multiply_adds(model) == info.multiply_adds
    assert model.input_shape == (None, *info.input_shape)
    assert model.output_shape == (None, info.classes)
    assert model.name == name


@pytest.mark.parametrize(("name", "parameters"), {**PAPER_PARAMETERS, **LATER}.items())
def test_parameters_are_the_papers(name, parameters):
    assert applications.model_info(name).parameters == parameters


@pytest.mark.parametrize(("name", "printed"), PAPER_FLOPS.items())
def test_multiply_adds_are_the_papers_within_2_percent(name, printed):
    assert applications.model_info(name).multiply_adds / 1e9 == pytest.approx(printed, rel=0.02)


@pytest.mark.parametrize("name", RECTIFIER_NETS)
@pytest.mark.sample(7)
def test_networks_of_the_rectifier_paper(name):
    convolutions, dense, slopes, depth, printed = RECTIFIER_NETS[name]
    info = applications.model_info(name)
    assert info.parameters == convolutions + dense + slopes
    assert info.config.depth == depth
    if printed:
        assert info.multiply_adds / 1e9 == pytest.approx(printed, rel=0.01)
    with keras.StatelessScope(initialize_variables=False):
        models = {
            activation: applications.create_model(name, activation=activation)
            for activation in ("relu", "prelu_shared", "prelu")
        }
    layers = [x for x in models["relu"].layers if isinstance(x, keras.layers.Conv2D)]
    assert sum(map(trainable, layers)) == convolutions
    counts = {activation: trainable(model) for activation, model in models.items()}
    assert counts["relu"] == convolutions + dense
    assert counts["prelu_shared"] == counts["relu"] + depth - 1  # every layer but the classifier
    assert slopes in (0, counts["prelu"] - counts["relu"])


@pytest.mark.parametrize(
    ("name", "maps"),
    {
        "rectifiernet14": {"stem_conv": 109, "stem_pool": 36, "stage1": 36, "stage2": 18},
        "rectifierneta": {"stem_conv": 112, "stem_pool": 56, "stage2": 28, "stage3": 14},
        "vgg19": {"stem_conv": 224, "stage2": 112, "stage3": 56, "stage4": 28, "stage5": 14},
    }.items(),
)
def test_maps_have_the_sizes_of_the_tables(name, maps):
    with keras.StatelessScope(initialize_variables=False):
        model = applications.create_model(name)
    assert {layer: model.get_layer(layer).output.shape[1] for layer in maps} == maps
    vectors = {"rectifiernet14": 12_800, "rectifierneta": 32_256, "vgg19": 25_088}
    assert model.get_layer("fc1").kernel.shape == (vectors[name], 4096)


@pytest.mark.parametrize(
    ("name", "depth", "k", "millions"),
    [("wideresnet16_4", 16, 4, 2.7), ("wideresnet28_10", 28, 10, 36.5)],
)
def test_wide_resnets_are_counted_as_their_paper_does(name, depth, k, millions):
    """Zagoruyko and Komodakis 2016: depth = 6 n + 4 with the three projections, and no classifier.

    Kernels of 3x3 convolutions and projections, and a scale and a shift of each norm: one ahead of
    every convolution of a unit, and one ahead of the classifier.
    """
    n, widths = (depth - 4) // 6, (16, 16 * k, 32 * k, 64 * k)
    count = 9 * 3 * 16 + 2 * widths[3] + 10 * widths[3] + 10
    for entering, leaving in itertools.pairwise(widths):
        count += 9 * entering * leaving + 2 * entering + entering * leaving
        count += (2 * n - 1) * (9 * leaving * leaving + 2 * leaving)
    info = applications.model_info(name)
    assert info.parameters == count
    assert round(count / 1e6, 1) == millions
    assert info.config.depth == 1 + 6 * n + 1 == depth + 1 - len(info.config.units)
    assert info.config.preactivated and info.config.projection == "B"


@pytest.mark.thorough
def test_cifar_100_and_single_layer_skips():
    # Derived counts of the 2016 paper's networks.
    hundred = applications.create_model("resnet164v2", classes=100, packaging="repeated")
    assert trainable(hundred) == 1_726_388
    for placement in ("original", "full_preactivation"):
        single = applications.create_model(
            "resnet110",
            placement=placement,
            block="single",
            units=(36, 36, 36),
            packaging="repeated",
        )
        assert trainable(single) == 1_727_962


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in NAMES
        if applications.model_info(name).config.depth <= 50 and name not in (*SLOW, *RECTIFIER_NETS)
    ],
)
@pytest.mark.sample(30)
def test_prelu_adds_one_slope_a_channel(name):
    with keras.StatelessScope(initialize_variables=False):
        model = applications.create_model(name, activation="prelu", input_shape=(32, 32, 3))
    slopes = [layer for layer in model.layers if isinstance(layer, keras.layers.PReLU)]
    channels = sum(layer.output.shape[-1] for layer in slopes)
    assert trainable(model) == applications.model_info(name).parameters + channels
    assert not [layer for layer in model.layers if isinstance(layer, keras.layers.Activation)]


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.sample(4)
def test_deep_networks_grow_as_their_shallow_ones(name):
    # Parameters are linear in the units of each stage, so two shallow nets give the deep one's.
    info = applications.model_info(name)
    one, two = (trainable(applications.create_model(name, units=(n,) * 3)) for n in (1, 2))
    assert one + (info.config.units[0] - 1) * (two - one) == info.parameters


def test_resnet_1001_for_cifar_100():
    one, two = (
        trainable(applications.create_model("resnet1001v2", units=(n,) * 3, classes=100))
        for n in (1, 2)
    )
    assert one + 110 * (two - one) == 10_350_836


def test_families_are_complete():
    cifar = (8, 14, 20, 32, 44, 56, 110, 164, 272, 542, 1001, 1202)
    imagenet = (10, 12, "14imagenet", 16, 18, 26, 34, 50, 101, 152, 200, 269)
    bottleneck = ("14bottleneck", "26bottleneck", "38bottleneck")
    sizes = cifar + imagenet + bottleneck
    expected = {f"resnet{size}{v}" for size in sizes for v in ("", "v2")}
    expected |= {f"plainnet{depth}" for depth in (18, 20, 32, 34, 44, 56, 110)}
    expected |= {"wideresnet16_4", "wideresnet28_10", *LATER}
    assert set(NAMES) == expected | set(RECTIFIER_NETS)
    for name in NAMES:
        info = applications.model_info(name)
        counted = info.config.depth + 2 * ("with projections" in info.reference)
        assert f"{counted}" in name or name[-1] in "abc"
        assert info.builder in applications.__all__
        assert getattr(keras_preact, info.builder) is getattr(applications, info.builder)


def test_names_are_listed_in_natural_order_by_pattern():
    assert applications.list_models("resnet1*v2") == [
        "resnet10v2", "resnet12v2", "resnet14v2", "resnet16v2", "resnet18v2", "resnet101v2",
        "resnet110v2", "resnet152v2", "resnet164v2", "resnet1001v2", "resnet1202v2",
        "resnet14bottleneckv2", "resnet14imagenetv2",
    ]  # fmt: skip
    assert applications.list_models("PlainNet1*") == ["plainnet18", "plainnet110"]
    assert applications.list_models("[rv][eg][cg]*") == [
        "rectifiernet14", "rectifiernet30", "rectifierneta", "rectifiernetb", "rectifiernetc",
        "vgg13", "vgg19",
    ]  # fmt: skip
    assert applications.list_models("*t*_*") == [
        "resnext50_32x4d", "resnext101_32x8d",
        "wideresnet16_4", "wideresnet28_10", "wideresnet50_2", "wideresnet101_2",
    ]  # fmt: skip
    assert applications.list_models("resnet*d") == ["resnet50d", "resnet101d"]
    assert applications.list_models("inception*") == []


@pytest.mark.parametrize(
    ("builder", "title"),
    [
        ("ResNet14ImageNetV2", "ResNet-14 ImageNet V2"),
        ("RectifierNetA", "RectifierNet-A"),
        ("WideResNet28_10", "WideResNet-28-10"),
        ("ResNeXt50_32x4d", "ResNeXt-50 32x4d"),
        ("ResNet50D", "ResNet-50-D"),
    ],
)
def test_titles_are_written_as_the_papers_write_them(builder, title):
    assert getattr(applications, builder).__doc__.startswith(f"{title}, ")


def test_unknown_names_get_a_near_match():
    for call in (applications.create_model, applications.model_info):
        with pytest.raises(ConfigError, match=r"Received: 'resnet110-v2'.*'resnet110v2'"):
            call("resnet110-v2")
    with pytest.raises(AttributeError, match="ResNet51"):
        _ = keras_preact.ResNet51


def test_builders_have_the_signature_and_defaults_of_keras():
    theirs = inspect.signature(keras.applications.ResNet50V2).parameters
    for name in NAMES:
        builder = getattr(applications, applications.model_info(name).builder)
        mine = inspect.signature(builder).parameters
        assert list(mine)[: len(theirs)] == list(theirs)
        for argument, parameter in theirs.items():
            if argument not in ("weights", "classes", "name"):
                assert mine[argument].default == parameter.default
        assert mine["weights"].default is None
        assert mine["name"].default == name


def test_create_model_takes_the_function_name_and_fields():
    model = applications.create_model(
        "ResNet164V2", shortcut="exclusive_gating", gate_bias=-6.0, units=(1, 1, 1), name="mine"
    )
    assert model.name == "mine"
    assert model.get_layer("stage1_unit1_gate").bias_initializer.value == -6.0
    with pytest.raises(ConfigError, match="Did you mean 'units'"):
        applications.create_model("resnet20", unit=(1, 1, 1))
    with pytest.raises(ConfigError, match="Did you mean 'classes'"):
        applications.create_model("resnet20", clases=3)
