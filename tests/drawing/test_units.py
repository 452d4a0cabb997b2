"""A drawn unit against the papers' order and the tables; its layout, measured by the renderer."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_preact import ResNetConfig
from keras_preact.config import EXPANSION, KERNELS, Block, Placement, Shortcut
from keras_preact.drawing import draw_unit, read_unit
from keras_preact.drawing.sheet import TEXT
from keras_preact.errors import ConfigError
from keras_preact.placements import PLACEMENTS

pytestmark = pytest.mark.drawn

# Branch, then what stands behind the addition: Identity Mappings, Figure 4.
FIGURE_4 = {
    "original": ("weight BN ReLU weight BN", "ReLU"),
    "bn_after_addition": ("weight BN ReLU weight", "BN ReLU"),
    "relu_before_addition": ("weight BN ReLU weight BN ReLU", ""),
    "relu_only_preactivation": ("ReLU weight BN ReLU weight BN", ""),
    "full_preactivation": ("BN ReLU weight BN ReLU weight", ""),
}
# The shortcut and the gate of a unit that keeps its dimensions: Figure 2.
FIGURE_2 = {
    "identity": ("", ""),
    "constant_scaling": ("× 0.5", ""),
    "exclusive_gating": ("×", "1×1 conv, 8, bias −6; sigmoid; 1 − g"),
    "shortcut_only_gating": ("×", "1×1 conv, 8, bias −6; sigmoid; 1 − g"),
    "conv1x1": ("1×1 conv, 8", ""),
    "dropout": ("dropout 0.5", ""),
}
JOINS_BRANCH = {"constant_scaling": ["× 0.5"], "exclusive_gating": ["×"]}
WORDS = {"norm": "BN", "act": "ReLU"}


def config(block, placement, shortcut, **fields):
    fields |= {"units": (1,), "filters": (16,)}
    try:
        return ResNetConfig(block=block, placement=placement, shortcut=shortcut, **fields)
    except ConfigError:
        return None


CONFIGS = [
    found
    for values in itertools.product(Block.__args__, Placement.__args__, Shortcut.__args__)
    if (found := config(*values))
]


def texts(steps):
    return [step.text for step in steps]


def as_the_paper(steps):
    return " ".join("weight" if "conv" in text else text for text in texts(steps))


@pytest.mark.parametrize("placement", FIGURE_4)
def test_the_order_is_that_of_figure_4(placement):
    paths = read_unit(ResNetConfig(placement=placement))
    assert (as_the_paper(paths.branch), as_the_paper(paths.exit)) == FIGURE_4[placement]
    assert (paths.entry, paths.shortcut) == ((), ())


@st.composite
def orders(draw):
    """A block, and any order of its steps."""
    block = draw(st.sampled_from(Block.__args__))
    steps = st.permutations(("norm", "act")).flatmap(
        lambda pair: st.sampled_from([(), tuple(pair[:1]), tuple(pair)])
    )
    order = list(draw(steps))
    for _ in KERNELS[block]:
        order += ["conv", *draw(steps)]
    return block, (*order, "add", *draw(steps))


@settings(max_examples=20)
@given(orders())
@pytest.mark.thorough
def test_any_order_is_drawn_as_it_is_written(drawn):
    """And built so: the picture is read from the graph."""
    block, order = drawn
    fields = {"units": (1,), "filters": (16,), "projection": "B"}
    paths = read_unit(ResNetConfig(block=block, order=order, **fields))
    words = {**WORDS, "conv": "weight"}
    branch, after = (
        " ".join(words[step] for step in steps)
        for steps in (order[: order.index("add")], order[order.index("add") + 1 :])
    )
    assert (as_the_paper(paths.branch), as_the_paper(paths.exit)) == (branch, after)


def branch_of(config, filters):
    """The branch's boxes, as the tables of placements and kernels say."""
    steps = PLACEMENTS[config.placement]
    expected = [WORDS[step] for step in steps.before]
    kernels = KERNELS[config.block]
    for k, kernel in enumerate(kernels):
        last = k == len(kernels) - 1
        width = filters * EXPANSION[config.block] if last else filters
        expected += ["BN", "ReLU"] * (k > 0) + [f"{kernel}×{kernel} conv, {width}"]
    return expected + [WORDS[step] for step in steps.last]


@pytest.mark.parametrize("block", Block.__args__)
@pytest.mark.sample(4)
def test_every_unit_is_drawn_as_the_tables_say(block):
    filters = 8 // EXPANSION[block]
    known = (*FIGURE_2, "none")
    for config in (c for c in CONFIGS if c.block == block and c.shortcut in known):
        paths = read_unit(config, filters)
        plain = config.shortcut == "none"
        after = [WORDS[step] for step in PLACEMENTS[config.placement].after]
        if plain:
            assert paths.shortcut is None
            assert texts(paths.branch) == branch_of(config, filters) + after
            continue
        assert texts(paths.exit) == after
        drawn = texts((*paths.entry, *paths.branch))
        assert drawn == branch_of(config, filters) + JOINS_BRANCH.get(config.shortcut, [])
        shortcut, gate = FIGURE_2[config.shortcut]
        norm = ["BN"] * (
            config.shortcut == "conv1x1" and "norm" in PLACEMENTS[config.placement].last
        )
        assert texts(paths.shortcut) == [*shortcut.split("; "), *norm][not shortcut :]
        assert "; ".join(texts((*paths.gate, *paths.carry))) == gate
        # A projection in a pre-activation net takes the activated tensor (2016, appendix).
        shares = config.shortcut == "conv1x1" and config.preactivated
        before = [WORDS[step] for step in PLACEMENTS[config.placement].before]
        assert texts(paths.entry) == before * shares


def test_changes_of_dimensions_bias_and_other_activations():
    unit = {"filters": 32, "stride": 2, "in_channels": 16}
    option_a = read_unit(ResNetConfig(placement="original"), **unit)
    assert texts(option_a.shortcut) == ["subsample, /2", "16 zero channels"]
    assert texts(option_a.branch)[0] == "3×3 conv, 32, /2"
    assert option_a.channels == (16, 32)
    option_b = read_unit(ResNetConfig(projection="B"), **unit)
    assert (texts(option_b.entry), texts(option_b.shortcut)) == (
        ["BN", "ReLU"],
        ["1×1 conv, 32, /2"],
    )
    raw = read_unit(ResNetConfig(projection="B", projection_input="raw"), **unit)
    assert (raw.entry, texts(raw.branch)[:2]) == ((), ["BN", "ReLU"])
    fields = {"normalization": "none", "conv_bias": "always", "shortcut": "none"}
    bare = read_unit(ResNetConfig(activation="prelu", **fields), 8)
    assert texts(bare.branch) == ["PReLU", "3×3 conv, 8, bias"] * 2
    for activation, text in {"prelu_shared": "PReLU, one slope", "elu": "ELU"}.items():
        assert texts(read_unit(ResNetConfig(activation=activation)).branch)[1] == text
    fields = {"block": "bottleneck", "projection": "B", "stride_on": "3x3", "branch_dropout": 0.3}
    fields |= {"placement": "original", "width": 2, "groups": 32, "projection_stride": "avg_pool"}
    later = read_unit(ResNetConfig(**fields), **unit)
    assert texts(later.shortcut) == ["2×2 average pool, /2", "1×1 conv, 128", "BN"]
    convs = ["1×1 conv, 64", "3×3 conv, 64, /2, 32 groups", "1×1 conv, 128"]
    assert [text for text in texts(later.branch) if "conv" in text] == convs
    assert texts(later.branch)[3:5] == ["dropout 0.3", convs[1]]
    assert "3×3 conv, /2" in texts(read_unit(ResNetConfig(**fields), stride=2).branch)
    first = read_unit(ResNetConfig(), 8, first=True)
    assert as_the_paper(first.branch) == "weight BN ReLU weight"


def test_layers_that_no_unit_has_yet_get_a_readable_name():
    import keras

    from keras_preact.drawing.labels import steps_of

    class SpatialPyramidPooling2D(keras.layers.Layer):
        pass

    expected = {
        keras.layers.Dense(10, activation="softmax"): ["dense, 10", "softmax"],
        keras.layers.SeparableConv2D(8, 3): ["separable conv, 8"],
        keras.layers.AveragePooling2D(2): ["2×2 average pool, /2"],
        keras.layers.ReLU(): ["ReLU"],
        keras.layers.PReLU(): ["PReLU"],
        SpatialPyramidPooling2D(): ["spatial pyramid pooling"],
    }
    for layer, words in expected.items():
        assert texts(steps_of(layer)) == words


def boxes_and_texts(figure):
    """What the renderer makes of a figure: the rectangles of boxes and circles, and of texts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.axes[0]
    solid = [patch for patch in axes.patches if patch.get_gid() in ("box", "circle")]
    return (
        [patch.get_window_extent(renderer) for patch in solid],
        [text.get_window_extent(renderer) for text in axes.texts],
        figure.bbox,
    )


def overlap(one, other):
    """Whether rectangles share more than an edge."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 0.5 and height > 0.5


def inside(inner, outer):
    return (
        outer.x0 <= inner.x0
        and inner.x1 <= outer.x1
        and outer.y0 <= inner.y0
        and inner.y1 <= outer.y1
    )


def check_layout(figure):
    boxes, texts, paper = boxes_and_texts(figure)
    for one, other in itertools.combinations(boxes, 2):
        assert not overlap(one, other)
    for one, other in itertools.combinations(texts, 2):
        assert not overlap(one, other)
    for text in texts:
        assert inside(text, paper)
        assert all(inside(text, box) or not overlap(text, box) for box in boxes)
    assert all(inside(box, paper) for box in boxes)


@pytest.mark.sample(44)
@pytest.mark.parametrize("number", range(0, len(CONFIGS), 5))
def test_nothing_overlaps(number):
    config = CONFIGS[number]
    check_layout(draw_unit(config, title="a title"))
    stride = 2 if KERNELS[config.block][0] % 2 else 1  # pairs of 2x2 keep the map's size
    unit = {"filters": 256, "stride": stride, "in_channels": 128}
    check_layout(draw_unit(config, **unit, activation="prelu_shared", conv_bias="always"))


def test_no_text_but_an_index_is_below_8_points():
    figure = draw_unit("basic", filters=64)
    sizes = {text.get_fontsize() for text in figure.axes[0].texts if len(text.get_text()) > 3}
    assert min(sizes) >= TEXT >= 8


def test_units_of_a_network():
    def shown(**unit):
        return [text.get_text() for text in draw_unit("resnet20v2", **unit).axes[0].texts]

    assert shown(stage=1)[2:4] == [", 16-d", "3×3 conv, 16"]  # its BN and ReLU are in the stem
    assert shown(stage=1, unit=2)[2:4] == [", 16-d", "BN"]
    assert "3×3 conv, 32, /2" in shown(stage=2)
    assert "16 zero channels" in shown(stage=2, unit=1)
    assert "3×3 conv, 32, /2" not in shown(stage=2, unit=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"network": "exclusive_gatin"}, "Did you mean 'exclusive_gating'?"),
        ({"stage": 4}, "from 1 to 3. Received: stage=4"),
        ({"stage": 1, "unit": 9}, "from 1 to 3, the units of the stage. Received: unit=9"),
        ({"unit": 2}, "None unless `stage` is given"),
        ({"stage": 1, "filters": 8}, "None if `stage` is given"),
        ({"filters": 0}, "filters=0"),
        ({"stride": "2"}, "stride='2'"),
        ({"in_channels": 8}, "None unless `filters` is given"),
        ({"shortcutt": "none"}, "Did you mean 'shortcut'?"),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(ConfigError) as error:
        draw_unit(**arguments)
    assert words in str(error.value)


LATER = [
    ({"stochastic_depth": 0.5}, "left out 0.5"),
    ({"residual_scale": 0.25}, "× 0.25"),
    ({"residual_scale": "learned"}, "× learned"),
    ({"normalization": "fixup"}, "× learned"),
]


@pytest.mark.parametrize(("fields", "last"), LATER, ids=str)
def test_what_came_later_is_drawn(fields, last):
    config = ResNetConfig(**fields)
    assert [step.text for step in read_unit(config).branch][-1] == last
    check_layout(draw_unit(config, stage=3, unit=3))


def test_what_stands_for_batch_normalization_is_drawn():
    fixup = [step.text for step in read_unit(ResNetConfig(normalization="fixup")).branch]
    assert fixup[:4] == ["+ learned", "ReLU", "+ learned", "3×3 conv"]
    config = ResNetConfig(normalization="group", weight_standardization=True)
    texts = [step.text for step in read_unit(config, filters=16).branch]
    assert texts[:3] == ["group norm, 16", "ReLU", "3×3 conv, 16, standardised"]


def test_each_unit_is_drawn_with_its_own_rate():
    texts = [
        text.get_text()
        for text in draw_unit("resnet20v2", stage=1, unit=3, stochastic_depth=0.6).axes[0].texts
    ]
    assert "left out 0.2" in texts
