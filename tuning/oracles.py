"""KerasTuner's oracles made robust: atomic state files, and a grid that resumes."""

import itertools
import os
import time
from typing import Any

import keras_tuner
import numpy as np

from keras_preact.tuning.config import TuneConfig
from keras_preact.tuning.state import FINAL, read_dictionary, write_state

OBJECTIVE = keras_tuner.Objective("validation_error", "min")

#: Seconds after which a trial with no sign of life, or a worker that asks no more, is given up.
LEASE = 600.0


class _Durable:
    """Mixin: files that are whole whenever the process is killed, and searches that go on.

    KerasTuner writes its state in place, stops after three failures in a row, calls a space
    exhausted after twenty collisions, and waits for ever for a worker that does not come back.
    Here a trial whose folder shows no sign of life for `LEASE` seconds goes to another worker.
    """

    def __init__(self, **kwargs):
        super().__init__(objective=OBJECTIVE, max_consecutive_failed_trials=10**9, **kwargs)
        self._max_collisions = 10_000
        self.verbose = 0
        self._signs = {}  # by trial: the last sign of life, and when it was first seen
        self._asked = {}  # by worker: when it last asked

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        self._asked[tuner_id] = time.monotonic()
        self._give_up_lost_trials()
        trial = super().create_trial(tuner_id)
        if trial.status == "STOPPED":
            if self.ongoing_trials:  # one of which may have to be taken over
                self.tuner_ids.add(tuner_id)
                trial.status = "IDLE"
            self.tuner_ids = {worker for worker in self.tuner_ids if self._is_there(worker)}
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial):
        ongoing = {other.trial_id for other in self.ongoing_trials.values()}
        if trial.trial_id in ongoing or trial.trial_id not in self.end_order:
            super().end_trial(trial)  # else by a worker that had been given up

    def reload(self):
        """Leaves trials with their workers, which KerasTuner gives to the next who asks."""
        super().reload()
        workers = read_dictionary(self._get_oracle_fname())["ongoing_trials"]
        running = {w: n for w, n in workers.items() if self.trials[n].status not in FINAL}
        self.ongoing_trials = {worker: self.trials[name] for worker, name in running.items()}
        self._retry_queue = [n for n in self._retry_queue if n not in workers.values()]

    def _give_up_lost_trials(self):
        now = time.monotonic()
        for worker, trial in [*self.ongoing_trials.items()]:
            sign = os.stat(self._get_trial_dir(trial.trial_id)).st_mtime_ns
            last, since = self._signs.get(trial.trial_id, (None, now))
            if sign != last:
                self._signs[trial.trial_id] = (sign, now)
            elif now - since > LEASE:
                del self.ongoing_trials[worker]
                self._signs.pop(trial.trial_id)
                self._retry_queue.append(trial.trial_id)
                self.save()

    def _is_there(self, worker):
        return time.monotonic() - self._asked.get(worker, -LEASE) < LEASE

    def save(self):
        write_state(self._get_oracle_fname(), self.get_state())

    def get_state(self):
        """KerasTuner's, and the values of all trials, from which a damaged one is made again."""
        values = {name: trial.hyperparameters.values for name, trial in self.trials.items()}
        return {**super().get_state(), "values": values}

    def set_state(self, state):
        """Takes also what `state.mend` makes, which lacks what follows from the trials."""
        super().set_state({**self.get_state(), **state})
        for trial in self.trials.values():
            self._record_values(trial)
        if "seed_state" not in state:
            self._seed_state = self.seed + 1_000_000  # a stream that has not been drawn from

    def _save_trial(self, trial):
        path = os.path.join(self._get_trial_dir(trial.trial_id), "trial.json")
        write_state(path, trial.get_state())


class GridOracle(_Durable, keras_tuner.Oracle):
    """All combinations of the dimensions' values, in order, without those already started.

    Args:
        grid: The values of each dimension as KerasTuner knows them, by its name.
        **kwargs: Arguments of `keras_tuner.Oracle`.
    """

    def __init__(self, grid: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._grid = grid

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        for combination in itertools.product(*self._grid.values()):
            values = dict(zip(self._grid, combination, strict=True))
            if not self._duplicate(values):
                return {"status": "RUNNING", "values": values}
        return {"status": "STOPPED"}


class RandomOracle(_Durable, keras_tuner.oracles.RandomSearchOracle):
    """KerasTuner's random search."""


class BayesianOracle(_Durable, keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's Gaussian process, reproducible after a restart and without repeats."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        found = super().populate_space(trial_id)
        if found["values"] is None or self._duplicate(found["values"]):
            values = self._random_values()
            status = "STOPPED" if values is None else "RUNNING"
            return {"status": status, "values": values}
        return found


class HyperbandOracle(_Durable, keras_tuner.oracles.HyperbandOracle):
    """KerasTuner's Hyperband; `tuner/epochs` of a trial are trained from the start.

    A learning rate schedule depends on the number of epochs, so that a network trained for few
    epochs is not a starting point for more. A failed trial counts as the worst; in KerasTuner its
    bracket would wait forever.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        failed = [trial for trial in self.trials.values() if trial.status == "FAILED"]
        for trial in failed:
            trial.status, trial.score = "COMPLETED", float("inf")
        try:
            return super().populate_space(trial_id)
        finally:
            for trial in failed:
                trial.status, trial.score = "FAILED", None


def make_oracle(config: TuneConfig) -> keras_tuner.Oracle:
    """The oracle of a search.

    Args:
        config: The search; its `oracle`, `trials`, `seed` and dimensions count.

    Returns:
        A `keras_tuner.Oracle`.

    Example:
        >>> from keras_preact.tuning import TuneConfig
        >>> from keras_preact.tuning.oracles import make_oracle
        >>> make_oracle(TuneConfig(space={"network.gate_bias": [0, -6]})).max_trials
        2
    """
    hyperparameters = keras_tuner.HyperParameters()
    dimensions = config.dimensions()
    for dimension in dimensions:
        dimension.declare(hyperparameters)
    shared = {"seed": config.seed + 1, "hyperparameters": hyperparameters}  # 0 means none
    shared |= {"allow_new_entries": False}
    if config.oracle == "hyperband":
        return HyperbandOracle(max_epochs=config.epochs(), **shared)
    shared["max_trials"] = config.planned()
    if config.oracle == "grid":
        return GridOracle({d.name: d.codes() for d in dimensions}, **shared)
    return {"random": RandomOracle, "bayesian": BayesianOracle}[config.oracle](**shared)
