"""`train`: from a `TrainConfig` to a run folder."""

import contextlib
import os
import shlex
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_preact.citations import citations
from keras_preact.console import say
from keras_preact.data.load import facts_of, source
from keras_preact.errors import ConfigError, DataError, StoppedError
from keras_preact.run import RunFolder, environment, refuse_used, runs_in
from keras_preact.training.checkpoint import Checkpoints
from keras_preact.training.config import TrainConfig
from keras_preact.training.engines import make_engine
from keras_preact.training.extend import differences, extended
from keras_preact.training.finish import Result, finish
from keras_preact.training.job import prepare
from keras_preact.training.loggers import Loggers, make_loggers
from keras_preact.training.memory import largest_batch

if TYPE_CHECKING:
    from rich.console import Console


def train(
    config: TrainConfig | None = None,
    *,
    console: "Console | None" = None,
    loggers: Sequence[Any] = (),
) -> Result:
    """Trains a network on images and writes a run folder.

    After an interruption of any kind, a call with the same config resumes the run; on a CPU the
    result is the same to the last bit.

    Args:
        config: The training run; by default ResNet-20 V2 on `digits`.
        console: A `rich.console.Console` for progress; `None` prints nothing.
        loggers: Your own `keras_preact.training.Logger` objects, besides those in `config.log_to`.

    Returns:
        The `Result`; for a run that is already finished, its existing one.

    Raises:
        ConfigError: For a config that is not allowed or does not fit the data or the run in `out`.
        DataError: For data that is unavailable or damaged, and when all checkpoints are damaged.
        DivergedError: When loss or gradient is no longer a finite number.
        SaveError: When the run's folder cannot be written.
        StoppedError: After SIGTERM or SIGINT; the progress is saved.
        DeviceError: When another machine of the run does not come, is gone or hangs. Under JAX,
            whose threads may then wait for ever, this process ends with the exit status 1.

    Example:
        >>> import tempfile
        >>> from keras_preact import TrainConfig, train
        >>> result = train(TrainConfig("resnet8v2", epochs=1, out=tempfile.mkdtemp()))
        >>> result.test_images
        360
    """
    start = time.perf_counter()
    config = config or TrainConfig()
    batch_size = None
    if config.batch_size == "auto":  # tried before this process takes the devices
        known = begun_run(config) or config.extend  # which has settled it
        batch_size = None if known else largest_batch(config, console)
    engine = make_engine(config)
    if not engine.is_chief:
        console, loggers = None, ()
    run = begun_run(config) if engine.is_chief else None
    result = engine.broadcast_json(run.result if run and run.is_finished else None)
    if result:
        say(console, f"This run is already finished: {result['run']}.")
        return Result(**result)
    loggers = make_loggers(config.logger_names() if engine.is_chief else (), loggers)
    longer = None
    if config.extend and not (run and Checkpoints(run.path / "checkpoints").names()):
        longer = extended(config)
    settled = _decided(run or longer.run) if run or longer else None
    if run:
        settled["parts"] = run.read_json("resolved.json")
    decided = engine.broadcast_json(settled) or {}
    if engine.is_chief and not run and config.out:
        RunFolder.create(config.out, "").discard_if_empty()  # says now that it can be written
    job = prepare(config, engine, console, decided, batch_size)
    given = longer.checkpoint.progress["step"] if longer else decided.get("given")
    if given is not None:
        job.decided["given"] = given
    # Another process may have begun it while images were read.
    run = run or (engine.is_chief and begun_run(config)) or _new_run(config, job)
    with run.locked():
        _describe(run, job, console)
        if longer and engine.is_chief:
            longer.into(run)
        told = Loggers(loggers, run, console)
        loop = job.loop(run, console, start, told)
        if loop.resume(job.decided.get("given", -1)):
            say(console, f"resuming {run.path} after step {loop.step}")
            if longer:
                say(console, longer.schedule(loop))
        with told:
            loop.run()
            try:
                told.result = result = finish(job, loop, run, console, start)
            except KeyboardInterrupt:
                words = "Interrupted while writing results; the same command resumes."
                raise StoppedError(words, signal.SIGINT) from None
            except DataError as error:  # of a test image, which may be read now for the first time
                raise DataError(f"{error} {loop.kept()}") from error
    return result


def begun_run(config: TrainConfig) -> RunFolder | None:
    """The run of this config, interrupted or finished, or `None`.

    Raises:
        ConfigError: When there is another run in its folder, or something else.
    """
    if config.resume == "never":
        refuse_used(config.out)
        return None
    if config.out is None:
        begun = [run for run in runs_in("runs") if not run.is_finished]
        return next((run for run in reversed(begun) if _goes_on(run, config)), None)
    if not os.path.isfile(f"{config.out}/config.json"):
        refuse_used(config.out)
        return None
    run = RunFolder(config.out)
    different = differences(run, config)
    if different:
        name, (was, wanted) = next(iter(different.items()))
        raise ConfigError(
            f"The run in {config.out} can only resume with its original config. Received: "
            f"{name}={wanted!r}, where it has {was!r}. Give another folder for a new run; "
            f"--init {shlex.quote(str(config.out))} starts it from the weights of this one."
        )
    return run


def _goes_on(run, config):
    try:
        return not differences(run, config) and not run.is_locked
    except ConfigError:  # of another version, or damaged
        return False


def _decided(run):
    """What was settled when a run was begun: see `Job`, of which this has what is to stay so."""
    found = {"statistics": "statistics.json"}
    if Checkpoints(run.path / "checkpoints").names():  # which have the weights
        found["start"] = "start.json"
    there = {
        name: run.read_json(file) for name, file in found.items() if (run.path / file).is_file()
    }
    return {**run.read_json("env.json")["decided"], **there}


def _new_run(config, job):
    if not job.engine.is_chief:
        return RunFolder.temporary()
    return RunFolder.create(config.out, job.title.replace(" on ", "-"))


def _describe(run, job, console):
    """Writes down what the run is, or, where that is there, compares it with this process."""
    facts = {
        "resolved.json": job.parts.to_dict(),
        "data.json": facts_of(job.data),
        "env.json": {
            **environment(),
            "decided": job.decided,
            **job.chosen,
            **_places(job.config.data, run.path),
        },
    }
    if not (run.path / "config.json").is_file():
        command = f"keras-preact train --config {shlex.quote(str(run.path))}/config.json"
        for name, value in facts.items():
            run.write_json(name, value)
        if job.statistics:
            run.write_json("statistics.json", job.statistics.to_dict())
        if job.start:
            run.write_json("start.json", {"preprocessing": job.start.preprocessing})
        run.write_bytes("command.txt", f"{command} --out NEW_FOLDER\n".encode())
        run.write_bytes("citations.bib", citations(job.parts).encode())
        run.write_json("config.json", job.config.to_dict())  # last: now it is a run
        return
    known = run.read_json("data.json")
    known.pop("test_sha256", None)  # of pixels, which another decoder may give otherwise
    if any(facts["data.json"][name] != value for name, value in known.items()):
        raise ConfigError(
            f"The images are not those of the run in {run.path} (their number, shape, classes or "
            "labels differ; see its data.json). Give another folder."
        )
    begun, now = run.read_json("env.json"), facts["env.json"]
    for each in (begun, now):
        each["devices"] = str(each.get("devices")).upper()  # JAX's were in small letters once
    for name in ("packages", "backend", "devices", "processors"):
        if begun.get(name) != now[name]:
            say(console, f"The run began with other {name}: results may differ in the last bits.")


def _places(data, run):
    """Where the images are, for those who look at the run from elsewhere, or when both have moved.

    `data_path` is absolute, `data_from_run` begins at the run's folder.
    """
    kind, path = source(data)
    if kind == "name":
        return {"data_path": None}
    places = {"data_path": os.path.abspath(path)}
    with contextlib.suppress(ValueError):  # on another drive
        places["data_from_run"] = os.path.relpath(path, run)
    return places
