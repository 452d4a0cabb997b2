"""What a run cites, by the fields of its network."""

import pytest

from keras_preact import TrainConfig
from keras_preact.citations import WORKS, citations

LATER = {"zagoruyko2016wide", "xie2017aggregated", "he2019bag"}


@pytest.mark.parametrize(
    ("model", "settings", "works"),
    [
        ("resnet20v2", {}, set()),
        ("resnet50", {}, set()),
        ("resnet20v2", {"network.branch_dropout": 0.3}, {"zagoruyko2016wide"}),
        ("wideresnet28_10", {}, {"zagoruyko2016wide"}),
        ("wideresnet50_2", {}, {"zagoruyko2016wide"}),
        ("resnext50_32x4d", {}, {"xie2017aggregated"}),
        ("resnet50d", {}, {"he2019bag"}),
    ],
    ids=str,
)
def test_later_papers_are_cited_where_their_fields_are_used(model, settings, works):
    text = citations(TrainConfig(model, settings=settings).resolve())
    assert {work for work in WORKS if f"{{{work}," in text} & LATER == works
