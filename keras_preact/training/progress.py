"""What is seen and written while a network trains: a progress bar, and a line of log an epoch."""

import math
import time

import keras

from keras_preact.errors import DivergedError


class EpochLog(keras.callbacks.Callback):
    """Collects one dictionary an epoch, in the words of the papers, and hands it on.

    It has `epoch` (from 1), `loss`, `error`, `test_loss`, `test_error`, `learning_rate` (at the
    epoch's end), `seconds` (of training alone) and `images_per_second`.

    Args:
        images: Training images in an epoch.
        on_epoch: Called with each dictionary.

    Raises:
        DivergedError: While training, as soon as the loss is not a finite number.
    """

    def __init__(self, images, on_epoch):
        super().__init__()
        self.images, self.on_epoch = images, on_epoch
        self.rows = []

    def on_epoch_begin(self, epoch, logs=None):
        self._start, self._seconds = time.perf_counter(), None

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise DivergedError(
                f"The loss is {logs['loss']} at step {batch + 1} of epoch {len(self.rows) + 1}. "
                "A lower --learning-rate or a recipe with warm-up usually helps."
            )

    def on_test_begin(self, logs=None):
        self._seconds = time.perf_counter() - self._start

    def on_epoch_end(self, epoch, logs=None):
        row = {
            "epoch": epoch + 1,
            "loss": logs["loss"],
            "error": 1 - logs["accuracy"],
            "test_loss": logs["val_loss"],
            "test_error": 1 - logs["val_accuracy"],
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": self._seconds,
            "images_per_second": self.images / self._seconds,
        }
        self.rows.append(row)
        self.on_epoch(row)

    @property
    def images_per_second(self) -> float:
        """Training speed without the first epoch, in which the step is compiled (if others are)."""
        rows = self.rows[1:] or self.rows
        return self.images * len(rows) / sum(row["seconds"] for row in rows)


class ProgressBar(keras.callbacks.Callback):
    """A bar over the whole training and a line an epoch, on the standard error stream.

    Args:
        console: A `rich.console.Console`. Where it is no terminal, only the lines are printed.
        epochs: Passes over the training images.
        steps: Steps in an epoch.
    """

    def __init__(self, console, epochs, steps):
        super().__init__()
        from rich import progress

        self.epochs, self.console = epochs, console
        self.bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=None),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[shown]}"),
            progress.TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            expand=True,
        )
        self.task = self.bar.add_task("epoch 1", total=epochs * steps, shown="")

    def on_train_begin(self, logs=None):
        self.bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self.bar.update(self.task, description=f"epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch, logs=None):
        shown = f"loss {logs['loss']:.3f}  accuracy {logs['accuracy']:.1%}"
        self.bar.update(self.task, advance=1, shown=shown)

    def stop(self):
        """Takes the bar away, also when training ended early."""
        self.bar.stop()

    def show(self, row):
        """Prints an epoch's line."""
        width = len(str(self.epochs))
        self.console.print(
            f"epoch {row['epoch']:{width}}/{self.epochs}  "
            f"loss {row['loss']:.4f}  accuracy {1 - row['error']:7.2%}  "
            f"test loss {row['test_loss']:.4f}  test accuracy {1 - row['test_error']:7.2%}  "
            f"{row['seconds']:.1f} s  {row['images_per_second']:,.0f} images/s",
            soft_wrap=True,
        )
