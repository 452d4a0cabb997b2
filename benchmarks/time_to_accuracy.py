"""Seconds of training to a test accuracy, beside the same network and recipe in PyTorch.

Contenders take turns of an epoch. What counts is training: not imports, reading images, building
the network and evaluation. Compiling is told apart: two steps ahead of the first epoch, undone.
"""

import functools
import math
import os
import statistics
import time

from jsonargparse import auto_cli

from benchmarks.contenders import available
from benchmarks.group import Spec, measure
from benchmarks.report import progress, show

COLUMNS = [
    "contender", "reached", "s", "least to greatest", "epochs", "s an epoch", "to compile, s",
    "ours is",
]  # fmt: skip
COLOURS = {"keras_preact": "#0b3d91", "torch.compile": "#c62828", "PyTorch": "#e69500"}


class _Ours:
    """This package's training path, without its logs and checkpoints."""

    def __init__(self, spec):
        from keras_preact.training.engines import make_engine
        from keras_preact.training.job import prepare

        config = _config(spec)
        self.job = prepare(config, make_engine(config))
        self.epochs, self.steps = self.job.parts.recipe.epochs, len(self.job.batches)
        self.start = self.job.engine.state()

    def reset(self):
        self.job.engine.restore(self.start)

    def train(self, epoch, steps):
        self.job.batches.epoch = epoch
        for _ in self.job.engine.train(self.job.batches, 0, steps):
            pass

    def accuracy(self):
        from keras_preact.evaluation import evaluate

        data = self.job.data
        return evaluate(self.job.engine.predict, data.test, data.class_names, 1000).accuracy


class _Torch:
    """The same in PyTorch: channels last, images in memory and augmented a batch at a time."""

    def __init__(self, spec, compiled=False):
        import torch

        from benchmarks.torch_networks import preact_resnet
        from keras_preact.data import load_data
        from keras_preact.data.statistics import image_mean

        config = _config(spec)
        parts = config.resolve()
        self.recipe, self.epochs = _of_the_peer(parts), parts.recipe.epochs
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.manual_seed(config.seed)
        data = load_data(config.data, options=parts.data, seed=config.seed)
        (height, width, channels), mean_and_deviation = data.image_shape, image_mean(data.train)
        mean, deviation = map(torch.from_numpy, mean_and_deviation)
        self.pad, self.flip = parts.augmentation.padding(data.image_shape), data.flip
        images = torch.from_numpy(data.train.images(slice(None)))
        padded = (
            mean.round()
            .byte()
            .expand(len(images), height + 2 * self.pad, width + 2 * self.pad, channels)
        )
        self.images = padded.clone()
        self.images[:, self.pad :, self.pad :][:, :height, :width] = images
        self.images = self.images.to(self.device)
        self.labels = torch.from_numpy(data.train.labels).long().to(self.device)
        self.test_images = torch.from_numpy(data.test.images(slice(None))).to(self.device)
        self.test_labels = torch.from_numpy(data.test.labels).to(self.device)
        self.steps, self.shape = len(images) // self.recipe.batch_size, (height, width)
        network = preact_resnet(parts.network, data.num_classes, channels)
        self.network = network.to(device=self.device, memory_format=torch.channels_last)
        self.start = {name: value.clone() for name, value in network.state_dict().items()}
        mean, deviation = (v.to(self.device)[:, None, None] for v in (mean, deviation))
        half = torch.autocast(
            self.device.type, torch.bfloat16, enabled=spec.dtype == "mixed_bfloat16"
        )

        def scores(images):
            images = (images.permute(0, 3, 1, 2).float() - mean) / deviation
            with half:
                return network(images)

        def loss(images, labels):
            return torch.nn.functional.cross_entropy(scores(images), labels)

        self.scores, self.loss = scores, torch.compile(loss) if compiled else loss
        self.reset()

    def reset(self):
        import torch

        recipe, parameters = self.recipe, [*self.network.parameters()]
        self.network.load_state_dict(self.start)
        decays = [p for p in parameters if p.ndim > 1 or recipe.decayed == "all"]
        others = [p for p in parameters if p.ndim == 1 and recipe.decayed != "all"]
        self.optimizer = torch.optim.SGD(
            [{"params": decays, "weight_decay": recipe.weight_decay}, {"params": others}],
            recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            fused=True,
        )
        share = functools.partial(_share_of_rate, recipe, recipe.epochs * self.steps)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, share)

    def train(self, epoch, steps):
        import torch

        self.network.train()
        size = self.recipe.batch_size
        for places in torch.randperm(len(self.labels), device=self.device).split(size)[:steps]:
            self.optimizer.zero_grad()
            self.loss(self._augmented(places), self.labels[places]).backward()
            self.optimizer.step()
            self.schedule.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def accuracy(self):
        import torch

        self.network.eval()
        with torch.inference_mode():
            found = [self.scores(images).argmax(1) for images in self.test_images.split(1000)]
        return (torch.cat(found) == self.test_labels).float().mean().item()

    def _augmented(self, places):
        """Windows of padded images, some of them mirrored, for a whole batch at once."""
        import torch

        (height, width), device = self.shape, self.device
        top, left = torch.randint(0, 2 * self.pad + 1, (2, len(places), 1), device=device)
        rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
        columns = columns.expand(len(places), -1)
        if self.flip:
            mirrored = torch.rand(len(places), 1, device=device) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        rows, columns = (top + rows)[:, :, None], (left + columns)[:, None, :]
        return self.images[places[:, None, None], rows, columns]


def _config(spec):
    from keras_preact import TrainConfig

    settings = {f"network.{name}": value for name, value in spec.fields.items()}
    return TrainConfig(spec.model, dtype=spec.dtype, settings=settings, **spec.training)


def _of_the_peer(parts):
    """The recipe, if the PyTorch peer trains by it."""
    recipe, usual = parts.recipe, type(parts.recipe)()
    own = ("epochs", "batch_size", "learning_rate", "momentum", "nesterov", "schedule")
    own += ("warmup_steps", "weight_decay", "decayed")
    alike = {name: getattr(recipe, name) for name in own}
    if recipe.schedule == "step" or usual.replace(**alike) != recipe:
        raise ValueError("The PyTorch peer is there for SGD with crops, one cycle or a cosine.")
    return recipe


def _share_of_rate(recipe, steps, step):
    """The learning rate of a step, as a share of its peak; as `learning_rate_schedule` has it."""
    rising = recipe.warmup_steps
    rising = steps // 20 if rising is None or rising >= steps else rising
    if step < rising:
        return step / rising
    fallen = min(1, (step - rising) / max(1, steps - rising))
    return 1 - fallen if recipe.schedule == "one_cycle" else (1 + math.cos(math.pi * fallen)) / 2


def _course(spec, make):
    """A training as steps: two that compile, and then epochs."""
    training, clock = make(spec), getattr(time, spec.clock)

    def course():
        for _ in range(2):
            yield training.train(0, 1)
        training.reset()
        for epoch in range(training.epochs):
            start = clock()
            training.train(epoch, training.steps)
            seconds = clock() - start
            yield {"seconds": seconds, "accuracy": training.accuracy()}

    return functools.partial(next, course())


CONTENDERS = {
    "keras_preact": functools.partial(_course, make=_Ours),
    "PyTorch": functools.partial(_course, make=_Torch),
    "torch.compile": functools.partial(_course, make=functools.partial(_Torch, compiled=True)),
}


def main(
    data: str = "digits",
    accuracy: float = 0.97,
    model: str = "resnet8v2",
    recipe: str = "quick",
    epochs: int | None = None,
    dtype: str = "float32",
    contenders: tuple[str, ...] = ("keras_preact", "torch.compile"),
    seeds: int = 3,
    one_core: bool = False,
    plot: str | None = None,
    json: bool = False,
):
    """Trains until an accuracy is reached, contenders in turn, an epoch each.

    Args:
        data: The data set, as in `keras-preact train`.
        accuracy: The share of the test images to be classified correctly.
        model: The network.
        recipe: The recipe; SGD with crops, one cycle or a cosine, beside PyTorch.
        epochs: Passes over the training images that the schedule is made for; the recipe's by
            default.
        dtype: The dtype policy.
        contenders: Some of `keras_preact`, `PyTorch`, `torch.compile`; those that are not
            installed are left out.
        seeds: Trainings of each; their seeds are 0, 1, ...
        one_core: Compute on one core and count the processor's seconds, as on a Linux machine that
            others use: there threads of several cores wait for each other.
        plot: File for a picture of accuracy by seconds, `.png`, `.svg` or `.pdf`.
        json: Print JSON instead of a table.
    """
    training = {"data": data, "recipe": recipe, "epochs": epochs}
    resolved = _config(Spec("keras_preact", model, dtype, training=training)).resolve().recipe
    clock = "perf_counter"
    if one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        clock = "process_time"
    found = []
    for seed in range(seeds):
        progress(f"seed {seed}")
        specs = [
            Spec(
                name,
                model,
                dtype,
                resolved.batch_size,
                clock=clock,
                module="time_to_accuracy",
                training={**training, "seed": seed},
            )
            for name in available(contenders)
        ]
        found += measure(specs, resolved.epochs, 0, progress, accuracy)
    runs = {name: [m for m in found if m.name == name] for name in available(contenders)}
    title = f"{100 * accuracy:g} % of {_name(data)}: {model}, {recipe}, {resolved.epochs} epochs"
    title += ", one core" * one_core
    if plot:
        _plot(runs, accuracy, title, plot)
    ours = runs[next(iter(runs))]
    rows = [_row(name, mine, ours, accuracy) for name, mine in runs.items()]
    show(title, COLUMNS, rows, json, found)


def _name(data):
    """A data set without the folders in which its file lies."""
    kind, _, path = data.partition(":")
    return os.path.basename(path) or kind


def _row(name, mine, ours, accuracy):
    seconds = [m.until(accuracy) for m in mine]
    there = [m for m in mine if m.until(accuracy) is not None]
    head = [name, f"{len(there)} of {len(mine)}"]
    if not there:
        why = next((m.failure for m in mine if m.failure), "")
        return [*head, float("nan"), "", *[float("nan")] * 3, why]
    pairs = [(s, o.until(accuracy)) for s, o in zip(seconds, ours, strict=True)]
    ratios = [s / o for s, o in pairs if s and o and mine is not ours]
    reached = [s for s in seconds if s]
    return [
        *head,
        statistics.median(reached),
        f"{min(reached):.1f} to {max(reached):.1f}",
        statistics.median(len(m.seconds) for m in there),
        statistics.median(m.step for m in there),
        statistics.median(m.first for m in there),
        f"{statistics.median(ratios):.2f} x as fast" if ratios else "",
    ]


def _plot(runs, accuracy, title, path):
    """Accuracy by seconds of training, a line each training, a dot where it has the accuracy."""
    from keras_preact.evaluation.plots import INK, new_figure, plain_text, save_figure

    with plain_text:
        figure, axes = new_figure(8, 4.5)
        for name, mine in runs.items():
            for number, m in enumerate(mine):
                seconds = [sum(m.seconds[: k + 1]) for k in range(len(m.seconds))]
                shares = [100 * share for share in m.accuracies]
                look = {"color": COLOURS[name], "lw": 1.6, "alpha": 0.8}
                axes.plot(seconds, shares, label=None if number else name, **look)
                if m.until(accuracy):
                    axes.plot(seconds[-1], shares[-1], "o", color=COLOURS[name])
        axes.axhline(100 * accuracy, color=INK, lw=0.8, ls="--")
        best = max(s for mine in runs.values() for m in mine for s in [0, *m.accuracies])
        axes.set_ylim(max(0, 100 * accuracy - 30), 100 * max(best, accuracy) + 2)
        axes.set_xlim(left=0)
        axes.set_xlabel("seconds of training, without compiling")
        axes.set_ylabel("test accuracy, %")
        axes.set_title(title, color=INK, fontsize=11)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower right")
        save_figure(figure, path)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
