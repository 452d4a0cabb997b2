"""`TrainingTuner`: a KerasTuner tuner whose trials are one or more runs each."""

import datetime
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner

from keras_preact.errors import ConfigError, DataError, SaveError, StoppedError
from keras_preact.evaluation.classes import BY_CLASS, MACRO
from keras_preact.tuning.board import write_values
from keras_preact.tuning.config import TuneConfig
from keras_preact.tuning.oracles import OBJECTIVE, make_oracle
from keras_preact.tuning.state import OUTCOME, TRIALS, read_outcome, write_state
from keras_preact.tuning.training_process import train_in_process

#: Seconds between two signs of life of a trial; the oracle's `LEASE` is many of them.
_SIGN_EVERY = 20.0

#: What a training fails with when all others would too: it says nothing of the trial's values.
_COMMON = {"DataError": DataError, "SaveError": SaveError}


class TrainingTuner(base_tuner.BaseTuner):
    """Runs the trials of a search, each run in a separate process.

    Args:
        config: The search.
        folder: Its folder.
        asked_to_stop: Gives the number of the signal that asked this process to stop, or `None`.

    Example:
        >>> import tempfile
        >>> from keras_preact.tuning import TuneConfig
        >>> from keras_preact.tuning.tuner import TrainingTuner
        >>> TrainingTuner(TuneConfig(quick=True), tempfile.mkdtemp()).remaining_trials
        6
    """

    def __init__(
        self,
        config: TuneConfig,
        folder: str | os.PathLike[str],
        asked_to_stop: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._config, self._asked_to_stop = config, asked_to_stop
        self._last_asked = self._last_sign = 0.0
        super().__init__(make_oracle(config), directory=str(folder), project_name=TRIALS)

    def run_trial(self, trial: Any) -> dict[str, float]:
        """Trains each fold and seed of a trial; the mean of their errors is its score.

        Trainings that were finished before an interruption are not begun again.

        Returns:
            `{"validation_error": ...}`.

        Raises:
            keras_tuner.errors.FailedTrialError: When one of them failed.
            DataError, SaveError: When one met what all others would meet.
            StoppedError: When this process was asked to stop.
        """
        folder = pathlib.Path(self.project_dir) / f"trial_{trial.trial_id}"
        before = read_outcome(folder)
        runs = {run["run"]: run for run in before.get("runs", []) if run["error"] is not None}
        outcome = {"begun": before.get("begun", _now()), "failure": None, "runs": []}
        codes = trial.hyperparameters.values
        try:
            for config in self._trainings(folder, codes):
                name = pathlib.Path(config.out).name
                if name not in runs:
                    runs[name] = self._train(config, folder)
                outcome["runs"].append(runs[name])
                _write(folder, outcome)
                if "tensorboard" in config.logger_names():
                    values = self._config.values_of(codes)
                    write_values(f"{config.out}/tensorboard", values, runs[name]["error"])
        except (ConfigError, keras_tuner.errors.FailedTrialError) as error:
            failed = isinstance(error, keras_tuner.errors.FailedTrialError)
            outcome["failure"] = str(error) if failed else f"ConfigError: {error}"
        _write(folder, {**outcome, "ended": _now()})
        if outcome["failure"]:
            raise keras_tuner.errors.FailedTrialError(outcome["failure"])
        return {OBJECTIVE.name: statistics.mean(run["error"] for run in outcome["runs"])}

    def pre_create_trial(self) -> None:
        """Leaves the chief a moment between two questions, when it has nothing to do yet."""
        self._stop_if_asked()
        time.sleep(max(0.0, self._last_asked + 0.2 - time.monotonic()))
        self._last_asked = time.monotonic()

    def save(self) -> None:
        """Saves the oracle; the tuner itself has nothing that is not in its trials."""
        if not self._is_worker():
            self.oracle.save()

    def reload(self) -> None:
        if not self._is_worker():
            self.oracle.reload()

    def _train(self, config, folder):
        def is_asked_to_stop():  # asked all the while
            self._give_sign_of_life(folder)
            return self._asked_to_stop() is not None

        done = train_in_process(config, self._config, is_asked_to_stop)
        if done.failure:
            self._stop_if_asked()
            if done.error == "StoppedError":  # by someone else: this worker's successor goes on
                raise RuntimeError(done.failure)
            raise _COMMON.get(done.error, keras_tuner.errors.FailedTrialError)(done.failure)
        kept = ("parameters", "multiply_adds", "epochs", "seconds")
        return {
            "run": pathlib.Path(config.out).name,
            "error": 1 - done.result["test_accuracy"],
            "memory_gb": round(done.memory_gb, 3),
            **{name: done.result[name] for name in kept},
            **{name: done.result.get(name) for name in (*BY_CLASS, *MACRO)},
        }

    def _give_sign_of_life(self, folder):
        """Tells the chief that this trial is not lost."""
        if time.monotonic() - self._last_sign > _SIGN_EVERY:
            self._last_sign = time.monotonic()
            os.utime(folder)

    def _stop_if_asked(self):
        number = self._asked_to_stop()
        if number is not None:
            raise StoppedError("Stopped; the progress is saved.", number)

    def _try_run_and_update_trial(self, trial, *fit_args, **fit_kwargs):
        """KerasTuner takes every exception for the trial's fault; here, a trial's are its own."""
        try:
            self._run_and_update_trial(trial, *fit_args, **fit_kwargs)
            trial.status = "COMPLETED"
        except keras_tuner.errors.FailedTrialError as error:
            trial.status, trial.message = "FAILED", str(error)

    def _populate_initial_space(self):
        """Saves the new oracle, so that its file is there whenever there are trials.

        KerasTuner would build networks to find the dimensions; this oracle has them.
        """
        if not self._is_worker():
            self.oracle.save()

    def _get_tuner_fname(self):
        return str(pathlib.Path(self.project_dir) / "oracle.json")

    def _trainings(self, folder, codes):
        for fold in range(self._config.folds or 1):
            for number in range(self._config.seeds):
                yield self._config.training_config(
                    self._config.values_of(codes),
                    number=number,
                    fold=fold,
                    out=str(folder / f"fold{fold}-seed{number}"),
                    epochs=codes.get("tuner/epochs"),
                )


def _write(folder, outcome):
    write_state(folder / OUTCOME, outcome)


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
