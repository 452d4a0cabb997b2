"""`batch_size="auto"`: what is chosen from what trial steps took."""

import pytest

from keras_preact import TrainConfig
from keras_preact.errors import ConfigError
from keras_preact.training import memory
from keras_preact.training.memory import Trial

GB = 2**30


def trials(used, there=12 * GB, unit=1, images=10**6):
    return lambda config, size: Trial(size, used(size), there, unit, images)


@pytest.mark.parametrize(
    ("megabytes", "images", "unit", "expected"),
    [
        (10, 10**6, 1, 512),
        (1, 10**6, 1, 4096),
        (10, 100, 1, 64),
        (600, 10**6, 1, 8),
        (10, 3, 1, 2),
        (10, 10**6, 3, 3 * 128),
    ],
)
def test_the_largest_power_of_two_that_fits(megabytes, images, unit, expected, monkeypatch):
    found = trials(lambda size: GB + size * megabytes * 2**20, unit=unit, images=images)
    monkeypatch.setattr(memory, "_trial", found)
    assert memory.largest_batch(TrainConfig()) == expected


def test_what_does_not_fit_after_all_is_halved(monkeypatch):
    fits = trials(lambda size: size * 2**20)
    monkeypatch.setattr(memory, "_trial", lambda c, size: None if size > 100 else fits(c, size))
    assert memory.largest_batch(TrainConfig()) == 64


def test_the_least_fits_alone(monkeypatch):
    fits = trials(lambda size: size * 2**20)
    monkeypatch.setattr(memory, "_trial", lambda c, size: None if size > 16 else fits(c, size))
    assert memory.largest_batch(TrainConfig()) == 16


def test_trials_differ_however_large_a_unit_is(monkeypatch):
    """Sizes are whole units; the need of an image is not a difference of the same batches."""

    def found(config, size):
        size = 32 * max(1, round(size / 32))
        return Trial(size, GB + size * 40 * 2**20, 12 * GB, 32, 10**6)

    monkeypatch.setattr(memory, "_trial", found)
    assert memory.largest_batch(TrainConfig()) == 128


def test_when_nothing_fits_or_nothing_is_known_it_is_said(monkeypatch):
    monkeypatch.setattr(memory, "_trial", lambda config, size: None)
    with pytest.raises(ConfigError, match="found no batch that fits"):
        memory.largest_batch(TrainConfig())
    monkeypatch.setattr(memory, "_trial", trials(lambda size: GB, there=None))
    with pytest.raises(ConfigError, match="needs nvidia-smi to find the GPU's memory"):
        memory.largest_batch(TrainConfig())


@pytest.mark.slow
def test_a_trial_step_in_a_process_of_its_own():
    settings = {"network.units": [1], "network.filters": [4], "network.stem_filters": 4}
    config = TrainConfig("resnet8v2", dtype="float32", settings=settings)
    found = memory._trial(config, 16)
    assert 2**27 < found.used < 4 * GB
    assert found.there > 2**28
    assert (found.size, found.unit, found.images) == (16, 1, 1437)


def test_a_trial_that_fails_for_another_reason_says_it(monkeypatch):
    class Failed:
        returncode, stdout, stderr = 1, "", "Traceback\n...\nDataError: no_such_set is no set"

    monkeypatch.setattr(memory.subprocess, "run", lambda *arguments, **options: Failed)
    with pytest.raises(ConfigError, match=r"A trial step with 16 images failed: .*no_such_set"):
        memory._trial(TrainConfig(), 16)
