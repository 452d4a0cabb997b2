"""The progress table of a running search, read from its files."""

import os
import time
from typing import TYPE_CHECKING, Any

from keras_preact.console import say
from keras_preact.tuning.frame import outcome_text, trials_frame

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds between two looks at the files.
_EVERY = 2.0
_ROWS = 12


class LiveTable:
    """Finished trials, the best so far and the time left; one line per trial without a terminal.

    Args:
        config: The search.
        folder: Its folder.
        console: A `rich.console.Console`, or `None` to show nothing.
    """

    def __init__(
        self, config: Any, folder: str | os.PathLike[str], console: "Console | None"
    ) -> None:
        self._config, self._folder, self._console = config, folder, console
        self._last = 0.0
        self._told = None
        self._live = None
        self._began = time.monotonic()

    def __enter__(self) -> Any:
        if self._console and self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._console:
            self._look()
        if self._live:
            self._live.stop()

    def show(self) -> None:
        """Looks at the files again, if the last look is some time ago."""
        if self._console and time.monotonic() - self._last > _EVERY:
            self._last = time.monotonic()
            self._look()

    def _look(self):
        frame = trials_frame(self._folder)
        done = frame[frame["status"].isin(["finished", "failed"])]
        if self._told is None:  # what was there when it began
            self._told = set(done["trial"])
            self._had = len(self._told)
            if self._had:
                say(self._console, f"{self._had} trials have ended before")
        if self._live:
            self._live.update(self._table(frame, done), refresh=True)
            return
        for _, row in done.iterrows():
            if row["trial"] not in self._told:
                self._told.add(row["trial"])
                say(self._console, f"{self._values(row)}: {outcome_text(row)}; {self._left(done)}")

    def _values(self, row):
        names = [dimension.name for dimension in self._config.dimensions()]
        return f"trial {row['trial']} " + ", ".join(f"{n.split('.')[-1]}={row[n]}" for n in names)

    def _left(self, done):
        planned = self._config.planned()
        count = f"{len(done)} of {planned} trials" if planned else f"{len(done)} trials"
        here = len(done) - self._had
        if not planned or here < 1:
            return count
        seconds = (time.monotonic() - self._began) / here * (planned - len(done))
        return f"{count}, about {seconds / 60:.0f} min left" if seconds else count

    def _table(self, frame, done):
        from rich import box
        from rich.table import Table

        best = done.sort_values("validation_error", na_position="last")
        shown = [*frame[frame["status"] == "running"].iterrows(), *best.head(_ROWS).iterrows()]
        table = Table(title=f"{self._config.search}: {self._left(done)}", box=box.SIMPLE_HEAD)
        names = [dimension.name for dimension in self._config.dimensions()]
        for name in ("trial", *(name.split(".")[-1] for name in names)):
            table.add_column(name)
        table.add_column("validation error", justify="right", overflow="fold")
        for _, row in shown:
            table.add_row(row["trial"], *(str(row[name]) for name in names), outcome_text(row))
        return table
