"""Progress in the terminal during training."""

from typing import TYPE_CHECKING, Any

from keras_preact.run import watched

if TYPE_CHECKING:
    from rich.console import Console


class ProgressBar:
    """A progress bar over the whole training, and a line per epoch.

    Args:
        console: A `rich.console.Console`, or `None` to show nothing. Where it is no terminal, only
            the lines are printed.
        epochs: Passes over the training images.
        steps: Steps in an epoch.
        done: Steps that were done before.

    Example:
        >>> from keras_preact.training.progress import ProgressBar
        >>> with ProgressBar(None, epochs=1, steps=2) as bar:
        ...     bar.step(epoch=1, loss=2.3, accuracy=0.1, speed=350.0)
    """

    def __init__(self, console: "Console | None", epochs: int, steps: int, done: int = 0) -> None:
        self.console, self.epochs = console, epochs
        if console is None:
            return
        from rich import progress

        self._bar = progress.Progress(
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
        self._task = self._bar.add_task("", total=epochs * steps, completed=done, shown="")

    def __enter__(self) -> Any:
        if self.console:
            self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.console:
            self._bar.stop()

    def step(self, epoch: int, loss: float, accuracy: float, speed: float) -> None:
        """A step is done; loss, accuracy and images per second are the epoch's so far."""
        if self.console:
            shown = f"loss {loss:.3f}  accuracy {accuracy:.1%}  {speed:,.0f} images/s"
            description = f"epoch {epoch}/{self.epochs}"
            self._bar.update(self._task, advance=1, shown=shown, description=description)

    def epoch(self, row: dict[str, Any]) -> None:
        """One epoch is done; `row` is its line of the log."""
        if not self.console:
            return
        width, part = len(str(self.epochs)), watched(row)
        self.console.print(
            f"epoch {row['epoch']:{width}}/{self.epochs}  "
            f"loss {row['loss']:.4f}  accuracy {1 - row['error']:7.2%}  "
            f"{part} loss {row[f'{part}_loss']:.4f}  "
            f"{part} accuracy {1 - row[f'{part}_error']:7.2%}  "
            f"{row['seconds']:.1f} s  {row['images_per_second']:,.0f} images/s  "
            f"input {row['input_share']:.0%}",
            soft_wrap=True,
        )
