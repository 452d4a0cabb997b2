"""`batch_size="auto"`: what is chosen from what trial steps took."""

import pytest

from keras_preact import TrainConfig
from keras_preact.errors import ConfigError
from keras_preact.training import memory

GB = 2**30


@pytest.mark.parametrize(
    ("megabytes", "images", "expected"),
    [(10, 10**6, 512), (1, 10**6, 4096), (10, 100, 64), (600, 10**6, 8), (10, 3, 2)],
)
def test_the_largest_power_of_two_that_fits(megabytes, images, expected, monkeypatch):
    def peak(config, size):
        return GB + size * megabytes * 2**20, 12 * GB

    monkeypatch.setattr(memory, "_peak", peak)
    assert memory.largest_batch(TrainConfig(), images) == expected
    assert GB + expected * megabytes * 2**20 < 12 * GB


def test_what_does_not_fit_after_all_is_halved(monkeypatch):
    monkeypatch.setattr(
        memory, "_peak", lambda config, size: None if size > 100 else (size * 2**20, 12 * GB)
    )
    assert memory.largest_batch(TrainConfig(), 10**6) == 64


def test_when_nothing_fits_it_is_said(monkeypatch):
    monkeypatch.setattr(memory, "_peak", lambda config, size: None)
    with pytest.raises(ConfigError, match="found no batch that fits"):
        memory.largest_batch(TrainConfig(), 100)


def test_a_trial_step_in_a_process_of_its_own():
    config = TrainConfig(
        "resnet8v2",
        dtype="float32",
        settings={"network.units": [1]} | {"network.filters": [4], "network.stem_filters": 4},
    )
    used, free = memory._peak(config, 16)
    assert 2**27 < used < 4 * GB
    assert free > 2**28
    with pytest.raises(ConfigError, match=r"A trial step with 16 images failed: .*no_such_set"):
        memory._peak(config.replace(data="no_such_set"), 16)
