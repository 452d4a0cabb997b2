"""A search that is given more trials goes on with those that it has."""

import pytest

from keras_preact.errors import ConfigError
from keras_preact.run import RunFolder
from keras_preact.tuning import TuneConfig, search, trials_frame, tune

pytestmark = pytest.mark.tensorflow

SMALL = {"network.units": [1], "network.filters": [4], "network.stem_filters": 4}


def config(out, **fields):
    training = {"model": "resnet8v2", "epochs": 1, "dtype": "float32", "settings": SMALL}
    space = {"network.activation": ["relu", "prelu", "elu"]}
    return TuneConfig("fields", training, space, oracle="grid", out=str(out), **fields)


def finished(out, **fields):
    """What a search that has ended leaves, without having searched."""
    folder = RunFolder.create(out, "")
    folder.write_json("search.json", config(out, **fields).to_dict())
    folder.write_json("result.json", {})
    (folder.path / "final" / "seed0").mkdir(parents=True)
    return folder


def test_it_is_opened_again_and_the_winner_may_be_another(tmp_path):
    folder = finished(tmp_path / "search", trials=2)
    wanted = config(folder.path, trials=3)
    assert search._folder(wanted).path == folder.path
    assert not folder.is_finished
    assert (folder.path / "final-of-2-trials" / "seed0").is_dir()
    assert TuneConfig.from_dict(folder.read_json("search.json")) == wanted
    search._folder(wanted)  # as after a kill


@pytest.mark.parametrize(
    "fields", [{"trials": 1}, {"trials": 3, "seeds": 2}, {"trials": 3, "seed": 1}], ids=str
)
def test_fewer_trials_or_other_fields_are_another_search(fields, tmp_path):
    folder = finished(tmp_path / "search", trials=2)
    with pytest.raises(ConfigError, match="only `trials` may be increased"):
        search._folder(config(folder.path, **fields))
    assert folder.is_finished and (folder.path / "final").is_dir()


@pytest.mark.parametrize("fields", [{"trials": 2}, {"trials": 2, "workers": 2}], ids=str)
def test_as_many_trials_are_the_same_search(fields, tmp_path):
    folder = finished(tmp_path / "search", trials=2)
    assert search._folder(config(folder.path, **fields)).is_finished


@pytest.mark.parametrize("trials", [9, None])
def test_more_than_there_are_is_all_of_them(trials, tmp_path):
    folder = finished(tmp_path / "search", trials=2)
    assert not search._folder(config(folder.path, trials=trials)).is_finished
    assert config(folder.path, trials=trials).planned() == 3


@pytest.mark.slow
def test_from_one_trial_to_two(tmp_path):
    out = tmp_path / "search"
    assert tune(config(out, trials=1, final_seeds=1)).trials == 1
    first = trials_frame(out)
    result = tune(config(out, trials=2, final_seeds=1))
    assert (result.trials, len(result.test_errors)) == (2, 1)
    both = trials_frame(out)
    assert list(both["status"]) == ["finished"] * 2
    assert both["validation_error"][0] == first["validation_error"][0]
