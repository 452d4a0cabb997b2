"""Loggers: where the metrics of a run go besides its own `log.jsonl`."""

import contextlib
import dataclasses
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from keras_preact.checked import require
from keras_preact.console import say, silent_stderr, warn
from keras_preact.errors import ConfigError, first_line
from keras_preact.run import RunFolder

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds that W&B may take at the end to send what is left; `wandb sync` sends it later.
_PATIENCE = 60


class Logger:
    """Base class of loggers, which are called at the beginning, after each epoch and at the end.

    Override the methods that you need, and pass an instance to `train(config, loggers=[...])`. A
    logger that raises is not called again; a message says so, and training continues. A resumed
    training begins with a new logger, and `run.log` holds the epochs done so far; an epoch that was
    logged but not saved is repeated, with the same `step`.

    Attributes:
        every: Steps between two calls of `look`, counted from the first step of the training;
            `None`: it is never called.

    Example:
        >>> import tempfile
        >>> from keras_preact import TrainConfig, train
        >>> from keras_preact.training import Logger
        >>> class Table(Logger):
        ...     def begin(self, run):
        ...         self.rows = run.log
        ...
        ...     def log(self, row):
        ...         self.rows.append(row)
        ...
        ...     def end(self, result):
        ...         print(f"{len(self.rows)} epochs of {result.model if result else 'no end'}")
        >>> out = tempfile.mkdtemp()
        >>> config = TrainConfig("resnet8v2", epochs=1, saved_model=False, out=out)
        >>> _ = train(config, loggers=[Table()])
        1 epochs of resnet8v2
    """

    every: int | None = None

    def begin(self, run: RunFolder) -> str | None:
        """Training begins or resumes.

        Args:
            run: Its `RunFolder`: `run.path`, `run.config`, and `run.log` with the epochs logged
                before.

        Returns:
            A line for the terminal that says where to see the metrics, or `None`.
        """

    def log(self, row: dict[str, Any]) -> None:
        """An epoch is finished and saved.

        Args:
            row: Its line of `log.jsonl`: `epoch`, `step` (since the start), and metrics such as
                `loss`, `test_error` and `learning_rate`; missing ones are `None`.
        """

    def look(self, step: int, model: Any, data: Any) -> None:
        """Called after each step that is a multiple of `every`.

        Args:
            step: Its number, counted from the start of training.
            model: The `keras.Model` in training, from images to logits, with the weights after that
                step; it must not be changed.
            data: The `ImageData`.
        """

    def end(self, result: Any) -> str | None:
        """Training has ended.

        Args:
            result: Its `Result`; `None` if it was stopped or failed.

        Returns:
            A line for the terminal, or `None`.
        """


class TensorBoard(Logger):
    """Curves for TensorBoard in `tensorboard/` of the run's folder.

    Each process writes them anew from the log, so that no epoch is there twice.
    """

    def __init__(self) -> None:
        with _needed("tensorboard", "tensorboard"):
            from tensorboard.summary import Writer
        self._make_writer = Writer

    def begin(self, run: RunFolder) -> str | None:
        folder = run.path / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = self._make_writer(str(folder))
        for row in run.log:
            self.log(row)
        return f"tensorboard --logdir {folder}"

    def log(self, row: dict[str, Any]) -> None:
        for name, value in curves(row).items():
            self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def end(self, result: Any) -> None:
        self._writer.close()


class WeightsAndBiases(Logger):
    """A run of Weights & Biases (wandb.ai): curves, config, and at the end the result.

    It takes W&B's own settings from the environment: `WANDB_PROJECT` (`keras-preact` if not given),
    `WANDB_ENTITY`, `WANDB_MODE=offline`. The id of the W&B run is stored in `wandb.json` in the run
    folder, so that a resumed training continues the same W&B run, without logging a step twice.
    W&B's own files are in `wandb/`; offline runs that were not synced are written again by the next
    process. The folder contains no API key; the command, environment, repository and console output
    are not sent.
    """

    def __init__(self) -> None:
        with _needed("wandb", "keras-preact[wandb]"):
            import wandb
        self._wandb = wandb

    def begin(self, run: RunFolder) -> str | None:
        mode = self._wandb.setup().settings.mode
        online = mode not in ("offline", "dryrun", "disabled")
        if online:
            with silent_stderr():
                is_known = self._wandb.login(prompt=False)
            if not is_known:
                raise ConfigError("not logged in; run `wandb login` or set WANDB_MODE=offline")
        is_new = not (run.path / "wandb.json").is_file()
        if is_new:
            run.write_json("wandb.json", {"id": secrets.token_hex(6)})
        folder = run.path / "wandb"
        is_sent = any(folder.glob("run-*")) or any(folder.glob("*/*.synced"))
        if not is_sent:
            shutil.rmtree(folder, ignore_errors=True)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "keras-preact"),
            name="/".join(run.path.absolute().parts[-2:]) if is_new else None,
            id=run.read_json("wandb.json")["id"],
            resume="allow",
            dir=str(run.path),
            config=_facts(run),
            allow_val_change=True,
            settings=self._wandb.Settings(
                reinit="create_new",  # one of the caller's own stays as it is
                silent=True,
                console="off",
                save_code=False,
                disable_git=True,
                x_disable_meta=True,
                x_save_requirements=False,
                symlink=False,
                finish_timeout=_PATIENCE,
                x_transaction_log_flush_interval=1.0,  # what is lost when it is killed
            ),
        )
        if online or not is_sent:
            for row in run.log:
                self.log(row)
        if online:
            return f"W&B: {self._run.url}"
        return f"W&B: {mode if mode == 'disabled' else f'wandb sync {folder}/offline-run-*'}"

    def log(self, row: dict[str, Any]) -> None:
        if row["step"] >= self._run.starting_step:  # else it is there, of an earlier process
            self._run.log({"epoch": row["epoch"], **curves(row)}, step=row["step"], commit=True)

    def end(self, result: Any) -> None:
        if result:
            self._run.summary["result"] = dataclasses.asdict(result)
        self._run.finish(exit_code=0 if result else 1)


def _facts(run):
    """What is sent to W&B about a run."""
    env = run.read_json("env.json")
    facts = {name: env.get(name) for name in ("packages", "backend", "devices", "decided")}
    return {"config": run.config, "resolved": run.read_json("resolved.json"), "env": facts}


#: Loggers by their names in `TrainConfig.log_to`.
LOGGERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def curves(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line of the log by name, without those that there are none of.

    Example:
        >>> from keras_preact.training.loggers import curves
        >>> curves({"epoch": 1, "step": 11, "loss": 2.3, "gradient_norm": None})
        {'loss': 2.3}
    """
    return {
        name: value
        for name, value in row.items()
        if name not in ("epoch", "step") and isinstance(value, (int, float))
    }


def make_loggers(names: Iterable[str], others: Sequence[Any] = ()) -> list[Logger]:
    """The loggers of a run.

    Args:
        names: Some of `LOGGERS`.
        others: `Logger` objects to add.

    Raises:
        ConfigError: If a required package is not installed, or an object is not a `Logger`.

    Example:
        >>> from keras_preact.training.loggers import Logger, make_loggers
        >>> len(make_loggers([], [Logger()]))
        1
    """
    listed = isinstance(others, (list, tuple)) and all(isinstance(x, Logger) for x in others)
    require(listed, "loggers", others, "a list of keras_preact.training.Logger objects")
    return [*(LOGGERS[name]() for name in names), *others]


class Loggers:
    """Several loggers as one, which never fails and begins and ends with a `with` statement.

    Args:
        loggers: Objects of `Logger`.
        run: The `RunFolder`.
        console: For what they say, or `None`.

    Attributes:
        result: The `Result`, to be set once it is there.

    Example:
        >>> from keras_preact.run import RunFolder
        >>> from keras_preact.training.loggers import Logger, Loggers
        >>> class Printer(Logger):
        ...     def log(self, row):
        ...         print(row["loss"])
        >>> with Loggers([Printer()], RunFolder.temporary()) as loggers:
        ...     loggers.log({"epoch": 1, "step": 11, "loss": 2.3})
        2.3
    """

    result = None

    def __init__(
        self, loggers: Sequence[Any], run: RunFolder, console: "Console | None" = None
    ) -> None:
        self._loggers, self._run, self._console = loggers, run, console

    def __enter__(self) -> Any:
        self._tell("begin", self._run)
        return self

    def __exit__(self, *error: Any) -> None:
        self._tell("end", self.result)

    def log(self, row: dict[str, Any]) -> None:
        """Tells all of them of an epoch."""
        self._tell("log", row)

    def next_look(self, step: int) -> int | None:
        """The step after `step` at which one of them is to look at the network, or `None`."""
        due = [step + each.every - step % each.every for each in self._loggers if each.every]
        return min(due, default=None)

    def look(self, step: int, model, data) -> None:
        """Lets those look whose turn it is at this step."""
        self._tell("look", step, model, data)

    def _tell(self, what, *arguments):
        """Says what they answer; those that raise are told nothing more."""
        well = []
        for logger in self._loggers:
            if what == "look" and not (logger.every and arguments[0] % logger.every == 0):
                well.append(logger)
                continue
            try:
                if answer := getattr(logger, what)(*arguments):
                    say(self._console, answer)
                well.append(logger)
            except Exception as error:
                name, more = type(logger).__name__, "" if what == "begin" else " more"
                words = f"{name} logs nothing{more}: {first_line(error)}. Training continues."
                warn(self._console, words)
        self._loggers = well


@contextlib.contextmanager
def _needed(name, package):
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"Logging to {name!r} needs a package: pip install '{package}'. Received: no "
            f"{error.name}."
        ) from None
