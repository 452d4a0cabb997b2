"""`TrainingTuner`: KerasTuner's tuner, each of whose trials is one or more trainings."""

import datetime
import json
import pathlib
import statistics
import time

import keras_tuner
from keras_tuner.engine import base_tuner

from keras_preact.errors import ConfigError
from keras_preact.files import replace_file, to_json
from keras_preact.tuning.board import write_values
from keras_preact.tuning.config import TuneConfig
from keras_preact.tuning.oracles import OBJECTIVE, make_oracle
from keras_preact.tuning.training_process import train_in_process

#: Name of KerasTuner's folder in that of a search, and of what a trial writes in its own.
TRIALS, OUTCOME = "trials", "outcome.json"


class TrainingTuner(base_tuner.BaseTuner):
    """Runs the trials of a search, each training in a process of its own.

    Args:
        config: The search.
        folder: Its folder.

    Example:
        >>> import tempfile
        >>> from keras_preact.tuning import TuneConfig
        >>> from keras_preact.tuning.tuner import TrainingTuner
        >>> TrainingTuner(TuneConfig(quick=True), tempfile.mkdtemp()).remaining_trials
        6
    """

    def __init__(self, config: TuneConfig, folder):
        self._config = config
        self._last_asked = 0.0
        super().__init__(make_oracle(config), directory=str(folder), project_name=TRIALS)

    def run_trial(self, trial):
        """Trains each fold and seed of a trial; the mean of their errors is its score.

        Returns:
            `{"validation_error": ...}`.

        Raises:
            keras_tuner.errors.FailedTrialError: When one of them failed.
        """
        folder = pathlib.Path(self.project_dir) / f"trial_{trial.trial_id}"
        outcome = {"begun": _now(), "failure": None, "runs": []}
        _write(folder, outcome)
        try:
            for config in self._trainings(folder, values := self._values(folder)):
                done = train_in_process(config, self._seconds())
                outcome["runs"].append(run := _run(config, done))
                if done.failure:
                    outcome["failure"] = done.failure
                    break
                _write(folder, outcome)
                if config.tensorboard:
                    write_values(f"{config.out}/tensorboard", values, run["error"])
        except ConfigError as error:
            outcome["failure"] = f"{type(error).__name__}: {error}"
        outcome["ended"] = _now()
        _write(folder, outcome)
        if outcome["failure"]:
            raise keras_tuner.errors.FailedTrialError(outcome["failure"])
        return {OBJECTIVE.name: statistics.mean(run["error"] for run in outcome["runs"])}

    def pre_create_trial(self):
        """Leaves the chief a moment between two questions, when it has nothing to do yet."""
        time.sleep(max(0.0, self._last_asked + 0.2 - time.monotonic()))
        self._last_asked = time.monotonic()

    def save(self):
        """Saves the oracle; the tuner itself has nothing that is not in its trials."""
        if not self._is_worker():
            self.oracle.save()

    def reload(self):
        if not self._is_worker():
            self.oracle.reload()

    def _populate_initial_space(self):
        """Saves the new oracle, so that its file is there whenever there are trials.

        KerasTuner would build networks to find the dimensions; this oracle has them.
        """
        if not self._is_worker():
            self.oracle.save()

    def _get_tuner_fname(self):
        return str(pathlib.Path(self.project_dir) / "oracle.json")

    def _values(self, folder):
        """A trial's values, from its file, since numbers that came by gRPC are rounded."""
        codes = self._codes(folder)
        return {d.name: d.decode(codes[d.name]) for d in self._config.dimensions()}

    def _trainings(self, folder, values):
        epochs = self._codes(folder).get("tuner/epochs")
        for fold in range(self._config.folds or 1):
            for number in range(self._config.seeds):
                out = str(folder / f"fold{fold}-seed{number}")
                yield self._config.training_config(
                    values, number=number, fold=fold, out=out, epochs=epochs
                )

    def _codes(self, folder):
        return json.loads((folder / "trial.json").read_bytes())["hyperparameters"]["values"]

    def _seconds(self):
        return self._config.budget_amount if self._config.budget == "seconds" else None


def _run(config, done):
    result = done.result or {}
    return {
        "run": pathlib.Path(config.out).name,
        "error": 1 - result["test_accuracy"] if result else None,
        "memory_gb": round(done.memory_gb, 3),
        **{name: result.get(name) for name in ("parameters", "multiply_adds", "epochs", "seconds")},
    }


def _write(folder, outcome):
    replace_file(folder / OUTCOME, to_json(outcome))


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
