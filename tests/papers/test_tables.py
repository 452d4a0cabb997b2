"""The papers' tables as rows: figures, networks that are built, and that no system is missing."""

import collections
import itertools
import json
import math

import keras
import pandas as pd
import pytest

from keras_preact.applications import create_model, model_info
from keras_preact.cli import main
from keras_preact.config import KERNELS
from keras_preact.errors import ConfigError
from keras_preact.papers import paper_orders, paper_rows, paper_table, paper_tables
from keras_preact.papers.inside import MEASURES
from keras_preact.papers.tables import PAPERS

OF_PAPERS = {name: table for name, table in paper_tables().items() if table.paper != "recipes"}
ROWS = [row for table in OF_PAPERS for row in paper_rows(table)]
OWN = [row for table in paper_tables() if table not in OF_PAPERS for row in paper_rows(table)]
TRAINED = [row for row in ROWS if row.kind == "row"]

# By hand, from the papers.
FIGURES = {
    ("he2016-table1", "constant scaling, shortcut 0.5, branch 0.5"): 12.35,
    ("he2016-table1", "shortcut-only gating, bias -6"): 6.91,
    ("he2016-table1", "dropout"): "fail",
    ("he2016-table2", "ResNet-110, ReLU before addition"): 7.84,
    ("he2016-table2", "ResNet-164, full pre-activation"): 5.46,
    ("he2016-table3", "ResNet-1001, original, CIFAR-100"): 27.82,
    ("he2016-table4", "ResNet-1001, pre-activation, batch 64"): 4.62,
    ("he2016-table5", "ResNet-200, pre-activation"): 20.7,
    ("he2015-table2", "plain-34"): 28.54,
    ("he2015-table3", "ResNet-34 C"): 24.19,
    ("he2015-table4", "ResNet-152"): 19.38,
    ("he2015-table5", "ResNet (ILSVRC15)"): 3.57,
    ("he2015-table6", "ResNet-56"): 6.97,
    ("he2015-rectifiers-table2", "PReLU, channel-shared"): 32.71,
    ("he2015-rectifiers-table4", "PReLU, multi-scale"): 22.97,
    ("he2015-rectifiers-table7", "MSRA PReLU-nets"): 4.94,
    ("he2015-rectifiers-initialization", "30 layers, Xavier"): "fail",
    ("huang2016-stochastic-depth", "ResNet-110, constant depth"): 6.41,
    ("huang2016-stochastic-depth", "ResNet-110, stochastic depth"): 5.25,
    ("huang2016-stochastic-depth", "ResNet-1202, constant depth"): 6.67,
    ("huang2016-stochastic-depth", "ResNet-1202, stochastic depth"): 4.91,
    ("huang2016-stochastic-depth", "ResNet-110, stochastic depth, CIFAR-100"): 24.98,
    ("hysts-units", "pre-activation"): 6.47,
    ("hysts-units", "no first ReLU, last BN"): 5.85,
}

# Rows of each table that are networks of the papers. In Table 1 of 2016 the paper prints the biases
# from 0 to -5 as one row of 11.
COUNTS = {
    "he2016-table1": 11 + 5,
    "he2016-table2": 10,
    "he2016-table3": 12,
    "he2016-table4": 9,
    "he2016-table5": 6 + 2,  # two more from its section
    "he2015-table2": 4,
    "he2015-table3": 8,
    "he2015-table4": 6,
    "he2015-table6": 6,
    "he2015-figure6": 11,
    "he2015-rectifiers-table2": 3,
    "he2015-rectifiers-table4": 8,
    "he2015-rectifiers-initialization": 6,
    "huang2016-stochastic-depth": 2 * (2 + 1 + 4),  # two depths of a heat map; 1202; 110 layers
    "hysts-units": 10,
}


@pytest.mark.parametrize(("where", "value"), FIGURES.items())
def test_values_are_the_papers(where, value):
    table, name = where
    assert [row.value for row in paper_rows(table) if row.row == name] == [value]


@pytest.mark.parametrize(("table", "count"), COUNTS.items())
def test_tables_are_complete(table, count):
    assert sum(row.kind == "row" for row in paper_rows(table)) == count


def test_rows_are_whole():
    names = collections.Counter((row.table, row.row) for row in ROWS)
    assert max(names.values()) == 1
    for table in paper_tables().values():
        assert table.paper in PAPERS and table.table.startswith(table.paper)
    for row in ROWS:
        assert row.confidence in ("2 sources", "1 source", "memory")
        assert row.metric in ("test_error", "top1_error", "top5_error", "slope", *MEASURES)
        assert row.value is None or row.value == "fail" or 0 < row.value < 45 or row.kind == "fact"
        assert row.kind == "row" or (row.value and not row.model and not row.recipe)
        assert row.value or "curve" in row.note or "heat map" in row.note
        assert (row.metric == "test_error") == row.data.startswith("cifar")


def test_rows_of_our_own_are_trainings_without_a_papers_figure():
    assert len({(row.table, row.row) for row in OWN}) == len(OWN)
    for row in OWN:
        assert (row.kind, row.metric, row.value, row.error) == ("row", "test_error", None, None)
        assert row.published_error is None and row.data.startswith(("npz:", "csv:"))
        config = row.config()
        given = {name: value for name, value in row.settings.items() if "." not in name}
        assert given.items() <= config.to_dict().items()
        others = {name: value for name, value in row.settings.items() if name not in given}
        assert_settings(config.resolve(), others.items())
    tables = {row.table for row in OWN}
    assert not any(paper_tables()[table].claim for table in tables)
    trainings = [str(row.config().replace(out=None).to_dict()) for row in OWN]
    assert len(set(trainings)) == len(OWN)  # no two rows are one


def test_what_all_tables_agree_on():
    """A network that stands in several tables with the same test has the same figure there."""
    found = collections.defaultdict(set)
    for row in TRAINED:
        if row.data == "cifar10" and isinstance(row.value, float):
            paper = "2015" if row.table.startswith("he2015") else "2016"
            found[paper, row.model, row.recipe, str(row.settings)].add(row.value)
    assert all(len(values) == 1 for values in found.values()), found


def test_orders_are_those_of_the_printed_values():
    for table in paper_tables():
        values = {row.row: row.error for row in paper_rows(table)}
        for measure, lesser, greater in paper_orders(table):
            assert measure in ("test_error", "training_loss", *MEASURES)
            if measure == "test_error" and values[lesser] and values[greater]:
                assert values[lesser] < values[greater], (table, lesser, greater)
    assert len(paper_orders("he2016-table1")) == len(paper_rows("he2016-table1")) - 1
    # Of a claim of several rows those that are left follow each other.
    ends = paper_orders("he2015-figure6", among=("plain-20", "plain-56", "ResNet-20", "ResNet-56"))
    pairs = [("plain-20", "plain-56"), ("ResNet-56", "ResNet-20")]
    assert [order[1:] for order in ends] == 2 * pairs  # by training loss, and by test error
    # Of curves, where no values are printed, it is all there is.
    curves = [table for table in OF_PAPERS if "figure" in table and "figure7" not in table]
    assert all(map(paper_orders, curves))


def test_every_row_is_a_training():
    for row in TRAINED:
        parts = row.config().resolve()
        assert row.config().data == row.data
        assert_settings(parts, row.settings.items())
    with pytest.raises(ConfigError, match="'NIN' of he2015-table6, which is a reference"):
        paper_rows("he2015-table6", "NIN")[0].config()


def assert_settings(parts, settings):
    for name, value in settings:
        part, field = name.split(".")
        found = getattr(getattr(parts, part), field)
        assert found == (tuple(value) if isinstance(value, list) else value)


def trainable(config, classes, units=None):
    """Parameters of the network with fewer units a stage."""
    units = units or config.units
    model_of = {"stem_pool": "resnet18", "pyramid": "rectifierneta"}
    family = next((name for field, name in model_of.items() if getattr(config, field)), "resnet20")
    fields = config.replace(units=units).to_dict()
    with keras.StatelessScope(initialize_variables=False):
        model = create_model(family, classes=classes, **fields)
    assert sum(isinstance(x, keras.layers.Conv2D) for x in model.layers) >= sum(units)
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def counted(config, classes):
    """Parameters, which grow with the units of a stage, from networks of one and two units."""
    ones = (1,) * len(config.units)
    one = trainable(config, classes, ones)
    if len(set(config.units)) == 1:
        return one + (config.units[0] - 1) * (trainable(config, classes, (2,) * len(ones)) - one)
    total = one
    for stage, count in enumerate(config.units):
        two = tuple(2 if k == stage else 1 for k in range(len(ones)))
        total += (count - 1) * (trainable(config, classes, two) - one)
    return total


def networks():
    """Each different network of the rows that is no named one as it is, and one of its rows."""
    found = {}
    for row in TRAINED:
        config, info = row.config().resolve().network, model_info(row.model)
        classes = {"cifar10": 10, "cifar100": 100, "imagenet2012": 1000}[row.data]
        if config.differences(info.config) or classes != info.classes:
            alike = ("gate_bias", "stochastic_depth")
            shape = {n: v for n, v in config.to_dict().items() if n not in alike}
            found.setdefault((str(shape), classes), (row, config, classes))
    return [pytest.param(*rest, id=f"{rest[0].table} {rest[0].row}") for rest in found.values()]


@pytest.mark.parametrize(("row", "config", "classes"), networks())
@pytest.mark.sample(36)
def test_networks_are_built_and_have_the_parameters_of_their_kind(row, config, classes):
    named = model_info(row.model)
    assert counted(config, classes) - named.parameters == more_than(named, config, classes)


def more_than(named, config, classes):
    """Parameters that a row's network has more than the named one it is derived from."""
    channels = config.stage_channels
    if classes != named.classes:
        return (classes - named.classes) * (channels[-1] + 1)
    if config.shortcut.endswith("gating"):  # a 1x1 convolution with a bias on each unit
        return kernels(config) + sum(widths(config))
    if config.shortcut == "conv1x1":  # the same with a scale and a shift
        return kernels(config) + 2 * sum(widths(config))
    if config.preactivated and config.projection != named.config.projection:
        projections = sum(a * c for a, c in itertools.pairwise(channels))
        return projections + 2 * sum(widths(config)) * ("norm" in config.steps.last)
    if config.projection != named.config.projection:
        b = sum(a * c + 2 * c for a, c in itertools.pairwise(channels))
        return -b if config.projection == "A" else kernels(config) + 2 * sum(widths(config)) - b
    if config.activation != named.config.activation:
        slopes = {"rectifiernet14": 10_304, "rectifierneta": 14_688, "rectifiernetb": 15_968}
        one_a_layer = {"relu": 0, "prelu_shared": config.depth - 1}
        return one_a_layer[config.activation] - slopes[named.name]
    if config.placement == "bn_after_addition" and config.projection == "B":
        return -2 * sum(channels)  # projections without normalisation, as their branches
    return 0


def kernels(config):
    """Weights of 1x1 convolutions on all units."""
    inputs, total = config.stem_filters, 0
    for units, channels in zip(config.units, config.stage_channels, strict=True):
        total += inputs * channels + (units - 1) * channels**2
        inputs = channels
    return total


def widths(config):
    """Output channels of all units of each stage."""
    return [n * c for n, c in zip(config.units, config.stage_channels, strict=True)]


@pytest.mark.parametrize(
    "row", [row for row in TRAINED if row.parameters], ids=lambda row: f"{row.table} {row.row}"
)
def test_printed_parameters(row):
    network = row.config().resolve().network
    classes = 100 if row.data == "cifar100" else 10
    info = model_info(row.model)
    whole = info.parameters + (classes - info.classes) * (network.stage_channels[-1] + 1)
    scales_and_shifts = 0
    if row.parameters == "10.2M":  # what the paper prints leaves them out
        of_a_unit = [2 * (f + f + 4 * f) for f in network.filters]  # of three normalisations
        scales_and_shifts = network.units[0] * sum(of_a_unit)
    millions = (whole - scales_and_shifts) / 1e6
    digits = len(row.parameters.split(".")[1]) - 1
    assert f"{millions:.{digits}f}M" == row.parameters


def test_every_system_of_the_papers_is_reached():
    configs = [row.config().resolve().network for row in TRAINED]
    kinds = {name: {getattr(c, name) for c in configs} for name in configs[0].field_names()}
    assert kinds["placement"] == {
        "original", "bn_after_addition", "relu_before_addition", "relu_only_preactivation",
        "full_preactivation", "no_first_relu", "last_bn", "no_first_relu_last_bn",
    }  # fmt: skip
    assert kinds["shortcut"] == {
        "identity", "constant_scaling", "exclusive_gating", "shortcut_only_gating", "conv1x1",
        "dropout", "none",
    }  # fmt: skip
    assert kinds["projection"] == {"A", "B", "C"}
    assert kinds["block"] == set(KERNELS)
    assert kinds["activation"] == {"relu", "prelu", "prelu_shared"}
    assert kinds["initializer"] == {"he_normal", "xavier_normal"}
    depths = {c.depth for c in configs if c.shortcut != "none"}
    assert {18, 20, 32, 34, 44, 50, 56, 101, 110, 152, 164, 200, 1001, 1202} <= depths
    assert {c.depth for c in configs if c.shortcut == "none"} >= {
        14, 18, 19, 20, 22, 30, 32, 34, 44, 56, 110,
    }  # fmt: skip
    assert {row.data for row in TRAINED} == {"cifar10", "cifar100", "imagenet2012"}


def test_the_zoos_figures_stand_beside_those_of_the_same_network_only():
    frame = paper_table("he2016-table2").set_index("row")["published_error"]
    assert frame["ResNet-164, full pre-activation"] == 3.64
    assert pd.isna(frame["ResNet-164, BN after addition"])
    assert paper_rows("he2015-table3", "ResNet-50")[0].published_error == 22.09
    assert paper_rows("he2016-table3", "ResNet-1001, pre*100")[0].published_error == 18.41


def test_commands(capsys):
    assert main(["papers"]) == 0
    out = capsys.readouterr().out
    assert all(f" {table} " in out for table in paper_tables())
    assert main(["papers", "he2016-table1", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["row"] for row in rows] == [row.row for row in paper_rows("he2016-table1")]
    assert main(["papers", "he2016-table2", "--row", "resnet-110*", "--markdown"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert len(lines) == 2 + 5 and len({line.count("|") for line in lines}) == 1
    assert "| ResNet-110, BN after addition " in lines[3] and " 8.17 |" in lines[3]
    assert main(["papers", "--row", "original"]) == 2
    assert "`--row` needs a table" in capsys.readouterr().err
    assert main(["papers", "he2016-table9"]) == 2
    assert "Did you mean 'he2016-table" in capsys.readouterr().err
    assert main(["papers", "he2016-table2", "--row", "ResNet-20"]) == 2
    assert "ResNet-110, original" in capsys.readouterr().err
