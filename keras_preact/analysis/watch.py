"""`Watch`: a look inside while a network trains."""

import time

import keras
import pandas as pd

from keras_preact.analysis.anatomy import dissect
from keras_preact.analysis.config import refuse_unknown
from keras_preact.analysis.further import batches_of
from keras_preact.analysis.gradients import gradient_propagation
from keras_preact.analysis.lesion import lesions
from keras_preact.analysis.refinement import branch_cosines, probes
from keras_preact.analysis.signals import signal_propagation
from keras_preact.checked import is_whole, require
from keras_preact.files import to_csv
from keras_preact.rewrite import unrolled, with_policy
from keras_preact.training import Logger
from keras_preact.weights import load_weights_by_layer, weights_by_layer


class Watch(Logger):
    """Tables of every unit, every so many steps of a training, and how they change as a picture.

    The network is copied for each look, in float32, so that the training stays what it is without,
    to the last bit; what all looks took is said at the end. Images of the validation part are
    looked at, or without one training images, as they are without augmentation.

    In the run's folder each part has a file `watch-PART.jsonl`, with a line a step and unit, and at
    the end a `watch-PART.csv` and a `watch-PART.png`. A training that was interrupted goes on with
    them.

    Args:
        parts: Of `WATCHED`: `"signals"` (the columns of `signal_propagation` and
            `gradient_propagation`), `"gates"` (how far they are open, and their biases),
            `"lesions"` (the error without each unit), `"refinement"` (the cosines of
            `branch_cosines` and the errors of `probes`). A part that a network does not have, such
            as gates, leaves no files.
        every: Steps between looks, counted from the first step of the training.
        images: How many are looked at.
        batch_size: Of a mini-batch of them.
        seed: Decides which.

    Raises:
        ConfigError: For unknown parts, and numbers that are not allowed.

    Example:
        >>> import tempfile
        >>> from keras_preact import TrainConfig, train
        >>> from keras_preact.analysis import Watch
        >>> config = TrainConfig("resnet8v2", epochs=1, saved_model=False, out=tempfile.mkdtemp())
        >>> run = train(config, loggers=[Watch(every=5, images=16, batch_size=8)]).run
        >>> frame = pd.read_csv(f"{run}/watch-signals.csv")
        >>> frame["step"].unique().tolist(), frame["unit"].nunique()
        ([5, 10, 15, 20], 3)
    """

    def __init__(self, parts=("signals",), every=100, images=64, batch_size=32, seed=0):
        require(len(parts) > 0, "parts", parts, "at least one name")
        for name in parts:
            refuse_unknown("parts", name, WATCHED)
        for name, value, least in (("every", every, 1), ("images", images, 2)):
            require(is_whole(value) and value >= least, name, value, f"a whole number >= {least}")
        self.parts, self.every, self.seed = [*dict.fromkeys(parts)], every, seed
        self.images, self.batch_size = images, batch_size
        self._copy, self._batches, self._seconds = None, None, 0.0

    def begin(self, run):
        self._run = run
        return f"watching {', '.join(self.parts)} every {self.every} steps"

    def look(self, step, model, data):
        start = time.perf_counter()
        if self._copy is None:
            self._copy = unrolled(with_policy(keras.models.clone_model(model)))
            self._anatomy = dissect(self._copy)
            self._batches = batches_of(data.validation or data.train, self)
            for part in self.parts:  # what was seen and not saved is seen again
                if (self._run.path / f"watch-{part}.jsonl").is_file():
                    self._run.cut_log(f"watch-{part}.jsonl", "step", step - 1)
        load_weights_by_layer(self._copy, weights_by_layer(model))
        for part in self.parts:
            for row in WATCHED[part][0](self._anatomy, self._batches).to_dict("records"):
                line = {"step": step, **{k: v for k, v in row.items() if v == v}}
                self._run.append_log(line, f"watch-{part}.jsonl")
        self._seconds += time.perf_counter() - start

    def end(self, result):
        if result is None:
            return None
        files = {part: self._run.path / f"watch-{part}.jsonl" for part in self.parts}
        seen = {part: file for part, file in files.items() if file.is_file()}
        from keras_preact.analysis.watch_plots import plot_watch
        from keras_preact.evaluation import save_figure

        for part, file in seen.items():
            table = pd.DataFrame(self._run.read_lines(file.name))
            self._run.write_bytes(f"watch-{part}.csv", to_csv(table).encode())
            with self._run.replacing(f"watch-{part}.png") as path:
                save_figure(plot_watch(table, WATCHED[part][1], part), path)
        share = self._seconds / max(result.seconds, 1e-9)
        missing = ", ".join(part for part in files if part not in seen)
        words = f"watching took {self._seconds:.1f} s, {share:.0%} of what the training took"
        return words + f"; nothing was seen of {missing}" * bool(missing)


def _signals(anatomy, batches):
    keys = ["unit", "stage", "number"]
    signals = signal_propagation(anatomy, batches).units
    return signals.merge(gradient_propagation(anatomy, batches), "left", keys)


def _gates(anatomy, batches):
    return signal_propagation(anatomy, batches).gates


def _lesions(anatomy, batches):
    return lesions(anatomy, batches, most=1, draws=1).units


def _refinement(anatomy, batches):
    keys = ["unit", "stage", "number"]
    return probes(anatomy, batches, batches).merge(branch_cosines(anatomy, batches), "left", keys)


#: What can be watched: a function of a network in pieces and mini-batches to a row a unit, and of
#: its columns those that are drawn, with their titles and whether colours are logarithmic.
WATCHED = {
    "signals": (
        _signals,
        {
            "output_channel_variance": ("variance of a channel of the output", True),
            "adds": ("size of the branch / size of the input", True),
            "gradient": ("norm of the gradient at the input", True),
        },
    ),
    "gates": (
        _gates,
        {
            "mean": ("how far the gate is open, from 0 to 1", False),
            "bias": ("bias of the gate", False),
        },
    ),
    "lesions": (_lesions, {"error": ("error without the unit", False)}),
    "refinement": (
        _refinement,
        {
            "cosine": ("cosine of branch and negative gradient", False),
            "error": ("error of a linear probe", False),
        },
    ),
}
