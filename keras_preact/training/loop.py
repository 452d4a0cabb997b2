"""`Loop`: the training loop, which can stop and resume at any step."""

import json
import math
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_preact.console import say, warn
from keras_preact.errors import DataError, DivergedError, SaveError, StoppedError
from keras_preact.evaluation import Evaluation, evaluate
from keras_preact.run import RunFolder
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.engine import LOGS
from keras_preact.training.epoch import Epoch
from keras_preact.training.loggers import Loggers
from keras_preact.training.progress import ProgressBar
from keras_preact.training.signals import Signals

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds after which a checkpoint is due in the midst of a long epoch.
SAVE_SECONDS = 600

#: Steps in a row that may overflow under float16 while its scale is found.
OVERFLOWS = 50


class Loop:
    """Trains the network of an engine epoch by epoch, with logs and checkpoints.

    Order and augmentation of the images are functions of (seed, epoch, index) and the learning
    rate one of the step, so the state in a checkpoint and its step number are all that is needed to
    resume exactly.

    Args:
        engine: A prepared `Engine`.
        batches: Training batches.
        data: The `ImageData` with the validation images or, if there are none, the test images,
            which are then only used for curves.
        recipe: The `Recipe`.
        run: The `RunFolder` that logs and checkpoints go to.
        console: A `rich.console.Console` or `None`.
        save_every: Steps between checkpoints; `None`: at the end of an epoch and every 10 minutes.
        stop_on_save_error: Whether a full disk stops training; otherwise it continues without
            saving.
        loggers: `Loggers`, told of each epoch once it is saved, and of the steps at which they are
            to look; or `None`.
        loss_scaled: Whether single steps may overflow, as under float16.
        started: Start time by `time.perf_counter`, for the message after the first step.
    """

    def __init__(
        self,
        engine: Any,
        batches: Any,
        data: Any,
        recipe: Any,
        run: RunFolder,
        console: "Console | None" = None,
        *,
        save_every: int | None = None,
        stop_on_save_error: bool = True,
        loggers: Loggers | None = None,
        loss_scaled: bool = False,
        started: float | None = None,
    ) -> None:
        self.engine, self.batches, self.data, self.recipe = engine, batches, data, recipe
        self.run_folder, self.console, self.save_every = run, console, save_every
        self.stop_on_save_error, self.loss_scaled = stop_on_save_error, loss_scaled
        self.checkpoints = Checkpoints(run.path / "checkpoints")
        self.step = self.epochs_done = 0
        self.epoch = Epoch(1)  # the one under way
        self.best = None
        self.seconds = self.seconds_before = 0.0  # of training; before this process
        self.lost, self._since = 0.0, None  # by restarts; when what is gone on from was saved
        self._started, self._said_first = started or time.perf_counter(), False
        self._signals, self._overflows, self._said = Signals(self._nothing_lost), 0, set()
        self._saved_at, self._saved_step = (0, time.monotonic()), None
        self._writing = None  # the checkpoint that a thread writes while training goes on
        self.loggers = loggers or Loggers([], run)

    def resume(self, given: int = -1) -> bool:
        """Resumes from the newest undamaged checkpoint; returns whether there was one.

        Args:
            given: Step of a checkpoint that is of another run, since which no time was lost.

        Raises:
            DataError: When there are checkpoints and all are damaged.
        """
        found, damaged = self.checkpoints.latest() if self.engine.is_chief else (None, [])
        for problem in damaged:
            self._warn(f"{problem} Using the checkpoint before it.")
        self.checkpoints.set_aside(found and found.path.name)
        packed = None
        if found:
            progress = np.frombuffer(json.dumps(found.progress).encode(), np.uint8)
            packed = {**found.state, "progress": progress}
        state = self.engine.broadcast(packed)
        if state is not None:
            progress = json.loads(state.pop("progress").tobytes())
            self.engine.restore(state)
            self.step, self.epochs_done = progress["step"], progress["epochs_done"]
            self.best, self.epoch = progress["best"], Epoch(**progress["epoch"])
            self.seconds = progress["seconds"]
            self.seconds_before = self.seconds + self.epoch.seconds
            if self.step > given:  # early versions did not say when
                self.lost, self._since = progress.get("lost", 0.0), progress.get("saved_at")
        self._saved_at = (self.step, time.monotonic())
        self._saved_step = self.step if state is not None else None
        # What was logged after the checkpoint happens again.
        self.run_folder.cut_log("steps.jsonl", "step", self.step)
        self.run_folder.cut_log("log.jsonl", "epoch", self.epochs_done)
        return state is not None

    def run(self) -> None:
        """Trains until the recipe's epochs are done.

        Raises:
            DataError: For a damaged image; the progress until then is saved.
            DivergedError: When loss or gradient is not finite.
            StoppedError: After SIGTERM or SIGINT, once a checkpoint is written.
            SaveError: When a log or a checkpoint cannot be written.
        """
        shown = ProgressBar(self.console, self.recipe.epochs, len(self.batches), self.step)
        with shown as bar, self._signals, ThreadPoolExecutor(1) as self._thread:
            while self.epochs_done < self.recipe.epochs and not self._has_stalled():
                self.epoch.begin()
                try:
                    self._train_epoch(self.epoch, bar)
                    self._end_epoch(self.epoch, bar)
                except DataError as error:  # files are decoded when they are needed
                    self._finish_saving()
                    if self.step and self._saved_step != self.step:
                        self._save()
                    raise DataError(f"{error} {self.kept()}") from error
        if self._stops_alone():  # asked while the last epoch was saved
            self._save_and_stop()
        if self._has_stalled() and self.epochs_done < self.recipe.epochs:
            say(
                self.console,
                f"Stopped after epoch {self.epochs_done}: the validation {self.recipe.monitor} has "
                f"not improved since epoch {self.best['epoch']}.",
            )
        if self.recipe.keep == "best" and self.kept_epoch != self.epochs_done:
            self._restore_best()

    def evaluate(self, split: Any = None) -> Evaluation:
        """Classifies every image of a split, the test part if not given, once."""
        split = self.data.test if split is None else split
        return evaluate(self._predict, split, self.data.class_names, 2 * self.recipe.batch_size)

    @property
    def kept_epoch(self) -> int:
        """Whose weights are kept: the last one's where no checkpoint of the best was saved."""
        best = self.best if self.recipe.keep == "best" else None
        return best["epoch"] if best else self.epochs_done

    def _has_stalled(self):
        """Whether the best epoch is as long ago as `Recipe.patience` allows."""
        patience, best = self.recipe.patience, self.best
        return bool(patience and best) and self.epochs_done - best["epoch"] >= patience

    def _restore_best(self):
        """Puts the weights of the best epoch in the place of the last one's."""
        state = None
        if self.engine.is_chief:
            state = self.checkpoints.read(self.best["checkpoint"]).state
        self.engine.restore(self.engine.broadcast(state))
        say(self.console, f"The weights are those of epoch {self.best['epoch']}, the best.")

    def _train_epoch(self, epoch, bar):
        """The steps of an epoch that are left."""
        steps = len(self.batches)
        before = (epoch.number - 1) * steps
        self.batches.epoch = epoch.number - 1
        while (first := self.step - before) < steps:
            last = steps
            if self.save_every:  # as far as the next checkpoint
                last = min(steps, first + self.save_every - self.step % self.save_every)
            look = self.loggers.next_look(self.step)
            if look:
                last = min(last, look - before)
            for rows in self.engine.train(self.batches, first, last, self._asked_to_stop):
                for row in rows:
                    self._end_step(row, epoch, bar)
                if self.step == look:
                    self.engine.sync()
                    self.loggers.look(self.step, self.engine.model, self.data)
                if rows[-1]["stop"]:
                    self._save_and_stop()
                if self.step < before + steps and self._save_is_due():
                    self._save(wait=False)

    def _end_step(self, row, epoch, bar):
        self.step += 1
        line = {"step": self.step, "epoch": epoch.number, **{name: row[name] for name in LOGS}}
        self._refuse_infinite(line)
        if not self._said_first:
            here = self.seconds + epoch.seconds - self.seconds_before
            say(
                self.console,
                f"first step after {time.perf_counter() - self._started:.1f} s, "
                f"of which {here:.1f} s to compile and run it",
            )
            self._said_first = True
            if self._since:
                self.lost += max(time.time() - self._since, 0.0)
                self._write(self.run_folder.write_json, "restarts.json", {"lost": self.lost})
        epoch.add(line, row["images"], row["waited"])
        self._write(self.run_folder.append_log, line, "steps.jsonl")
        bar.step(epoch.number, epoch.mean("loss"), epoch.mean("accuracy"), epoch.speed)

    def _end_epoch(self, epoch, bar):
        epoch.end()
        part = "test" if self.data.validation is None else "validation"
        try:
            with self.engine.averaged():
                evaluation = self.evaluate(self.data.validation)
        except _Asked:  # with the trained weights in their place again
            self._save_and_stop()
        row = {
            "epoch": epoch.number,
            "step": self.step,
            "loss": epoch.mean("loss"),
            "error": 1 - epoch.mean("accuracy"),
            f"{part}_loss": evaluation.loss,
            f"{part}_error": 1 - evaluation.accuracy,
            "learning_rate": epoch.last["learning_rate"],
            "gradient_norm": epoch.mean("gradient_norm"),
            "seconds": epoch.seconds,
            "images_per_second": epoch.speed,
            "input_share": epoch.waited / epoch.seconds,
        }
        self._write(self.run_folder.append_log, row)
        self.seconds += epoch.seconds
        self.epochs_done, self.epoch = epoch.number, Epoch(epoch.number + 1)
        best, key = self.best, f"validation_{self.recipe.monitor}"
        if part == "validation" and (best is None or row[key] < best[key]):
            self._finish_saving()  # what is written now has the number before
            name = self.checkpoints.next_name(self.step)
            self.best = {"epoch": epoch.number, key: row[key], "checkpoint": name}
        if not self._save():
            self.best = best  # what is not there is not to be kept
        self.loggers.log(row)
        bar.epoch(row)

    def _refuse_infinite(self, line):
        wrong = {"loss": line["loss"], "gradient norm": line["gradient_norm"]}
        self._overflows = self._overflows + 1 if line["gradient_norm"] is None else 0
        if self.loss_scaled and self._overflows < OVERFLOWS:
            del wrong["gradient norm"]  # such a step is left out, and the scale halved
        for name, value in wrong.items():
            if value is None or not math.isfinite(value):
                within = self.step - self.epochs_done * len(self.batches)
                raise DivergedError(
                    f"The {name} is not finite at step {within} of epoch {line['epoch']}, "
                    f"step {self.step} in total. {self.checkpoints.after_diverging()}"
                )

    def _save_is_due(self):
        steps, seconds = self.step - self._saved_at[0], time.monotonic() - self._saved_at[1]
        return seconds > SAVE_SECONDS or (self.save_every and steps >= self.save_every)

    def _save(self, wait=True):
        """Whether a checkpoint was written; without waiting, a thread writes it by and by."""
        self._finish_saving()  # one at a time, and in their order
        progress = {
            "step": self.step,
            "epochs_done": self.epochs_done,
            "epoch": self.epoch.so_far(),
            "best": self.best,
            "seconds": self.seconds,
            "lost": self.lost,
            "saved_at": time.time(),
        }
        self._saved_at = (self.step, time.monotonic())
        if not self.engine.is_chief:
            return True
        logs = self._write(self.run_folder.sync_logs)
        state, save = self.engine.state(), self.checkpoints.save
        if wait:
            saved = self._write(save, state, progress) and logs
            self._saved_step = self.step if saved else None
            return saved
        self._writing = self.step, logs, self._thread.submit(save, state, progress)
        return True

    def _finish_saving(self):
        """Waits for the checkpoint that is being written, if there is one."""
        if self._writing:
            (step, logs, written), self._writing = self._writing, None
            saved = self._write(written.result) and logs
            self._saved_step = step if saved else None

    def _save_and_stop(self):
        self._finish_saving()
        if self._saved_step != self.step and not self._save():
            raise SaveError(
                f"Stopped after step {self.step}, which could not be saved. Last good "
                f"checkpoint: {self.checkpoints.last_good}."
            )
        number = self._signals.number or signal.SIGTERM  # or another machine was asked
        raise StoppedError(self._stopped_by(number), number)

    def _stopped_by(self, number):
        name, path = signal.Signals(number).name, self.run_folder.path
        if not self.step:
            return f"Stopped by {name} before the first step. The same command starts anew."
        return (
            f"Stopped by {name} after step {self.step}, which is saved in {path}. The same command "
            "resumes from there."
        )

    def _nothing_lost(self):
        """What SIGTERM may say if it ends the process now; `None` where a step is not saved."""
        saved = not self._writing and self.step == (self._saved_step or 0)
        return self._stopped_by(signal.SIGTERM) if saved else None

    def kept(self) -> str:
        """What is saved of a training that an unreadable image ended, and how to go on."""
        fix = "Replace the image and the same command resumes; in a new run, --on-bad-image skip "
        fix += "leaves such files out."
        if not self.step:
            return fix
        if self._saved_step != self.step:
            return f"Last good checkpoint: {self.checkpoints.last_good}. {fix}"
        return f"Training up to step {self.step} is saved in {self.run_folder.path}. {fix}"

    def _write(self, function, *arguments):
        """Writes, or says what could not be written and where the last good state is."""
        try:
            function(*arguments)
        except OSError as error:
            text = f"{error} Last good checkpoint: {self.checkpoints.last_good}."
            if self.stop_on_save_error:
                raise SaveError(
                    f"{text} Once there is space, the same command resumes from there; "
                    "--on-save-error continue trains without saving."
                ) from error
            self._warn(f"{text} Training continues.", function.__name__)
            return False
        return True

    def _predict(self, images):
        if self._stops_alone():
            raise _Asked
        return self.engine.predict(images)

    def _asked_to_stop(self):
        return self._signals.number is not None

    def _stops_alone(self):
        """Whether to stop outside a step, within which several machines agree to."""
        return self._asked_to_stop() and self.engine.machines == 1

    def _warn(self, text, kind=None):
        """Says something to whoever is there, of a kind once in a row of its like."""
        if kind in self._said:
            return
        self._said |= {kind} - {None}
        warn(self.console, text)


class _Asked(Exception):
    """A signal came while images were classified."""
