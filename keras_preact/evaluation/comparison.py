"""`compare_page`: runs side by side on a page: curves, results and differences."""

import html
import itertools
import json
import os
import pathlib
import string
from collections.abc import Sequence

from matplotlib.colors import to_hex

from keras_preact.console import duration
from keras_preact.errors import damaged, some
from keras_preact.evaluation.classes import MACRO
from keras_preact.evaluation.page import html_page, html_picture, html_table, to_png
from keras_preact.evaluation.runs import drawn, facts_of, machine_of, plot_logs
from keras_preact.files import check_row
from keras_preact.run import RunFolder

#: Fields of a config whose final values are in `resolved.json`, and those that change how a run is
#: stored but not what it computes.
_NOT_COMPARED = {
    *("settings", "epochs", "batch_size", "learning_rate", "image_size", "on_bad_image"),
    *("out", "resume", "save_every", "on_save_error", "log_to", "tensorboard", "saved_model"),
}

#: The fields of `data.json` that describe the test images.
_TESTED = ("classes", "test_images", "test_sha256")

#: Whole numbers of `result.json` and `data.json`.
_COUNTS = dict.fromkeys(("parameters", "multiply_adds", "training_images", "test_images"), "Int64")

#: In place of a value that a run does not have.
_UNSAID = "\N{EN DASH}"


def compare_page(paths: Sequence[str | os.PathLike]) -> str:
    """Compares runs side by side on a self-contained HTML page.

    It shows their curves, their results, and how they differ: in the config (network, recipe, data
    options, augmentation), in the images, in the machine and the versions.

    Args:
        paths: Run folders; unfinished runs are shown up to their last epoch.

    Returns:
        The HTML of the page.

    Raises:
        ConfigError: If a folder is not a run, or is damaged.

    Example:
        >>> from keras_preact.evaluation import compare_page
        >>> page = compare_page(["runs/mine", "runs/resnet20v2-digits-1"])  # doctest: +SKIP
    """
    compared = [_Compared(path, letter) for path, letter in zip(paths, _letters(), strict=False)]
    logs = {k: (one.log, one.title) for k, one in enumerate(compared) if one.log}
    sections = [_runs(compared)]
    if logs:
        headline = "Curves (thick: test, thin: training)"
        sections.append(html_picture(headline, to_png(plot_logs(logs))))
    sections += [_results(compared), _config(compared), _data(compared), _machines(compared)]
    return html_page("Comparison of runs", sections)


class _Compared:
    """The facts that the page shows about a run, which is identified by a letter."""

    def __init__(self, path, letter):
        run = RunFolder(path)
        with damaged(run.path):
            self.letter, self.path = letter, run.path
            self.facts, self.machine = facts_of(run), machine_of(run)
            self.log = drawn(run.log)
            self.last = dict(self.log[-1]) if self.log else {}  # its last epoch
            if "error" in self.last:
                self.last["accuracy"] = 1 - self.last["error"]
            if not self.log:
                self.facts["seconds"] = None
            self.result = check_row(run.result, _COUNTS) if run.is_finished else {}
            self.data = check_row(run.read_json("data.json"), _COUNTS)
            self.data["classes"] = [*map(str, self.data["classes"])]
            self.images = (
                f"{self.data['training_images']:,} training images, "
                f"{self.data['test_images']:,} test images, {len(self.data['classes']):,} classes"
            )
            config, env = run.config, run.read_json("env.json")
            fields = {name: config[name] for name in config if name not in _NOT_COMPARED}
            decided = env.get("decided", {})
            self.config = {**fields, "dtype": decided.get("dtype"), "backend": env["backend"]}
            for part, values in run.read_json("resolved.json").items():
                self.config |= {f"{part}.{name}": value for name, value in values.items()}

    @property
    def title(self):
        facts = self.facts
        return f"{self.letter}: {facts['model']}, {facts['recipe']}"


def _letters():
    for size in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_uppercase, repeat=size))


def _runs(compared):
    """The runs, each with its letter in the colour of its curves."""
    items = []
    for k, one in enumerate(compared):
        facts = one.facts
        data = pathlib.PurePath(str(facts["data"])).name or facts["data"]
        words = (
            f"{facts['model']} on {data}, recipe {facts['recipe']}, {facts['epochs']} of "
            f"{facts['epochs_planned']} epochs, {facts['state']}"
        )
        letter = f'<b style="color:{to_hex(f"C{k}")}">{one.letter}</b>'
        items.append(f"<li>{letter} <code>{html.escape(str(one.path))}</code> {html.escape(words)}")
    return f"<ul class=plain>{''.join(items)}</ul>"


def _share(value):
    return f"{value:.2%}"


#: The table of results: title, place, name and format of each row.
_ROWS = (
    ("test accuracy", "facts", "test_accuracy", _share),
    ("best epoch's accuracy", "facts", "best_accuracy", _share),
    ("validation accuracy", "result", "validation_accuracy", _share),
    ("balanced accuracy", "facts", "balanced_accuracy", _share),
    ("lowest recall of a class", "facts", "worst_recall", _share),
    ("class with the lowest recall", "facts", "worst_class", str),
    *((title, "facts", name, _share) for name, title in MACRO.items()),
    ("training accuracy", "last", "accuracy", _share),
    ("test loss", "last", "test_loss", "{:.4f}".format),
    ("training loss", "last", "loss", "{:.4f}".format),
    ("training time", "facts", "seconds", duration),
    ("images per second", "facts", "images_per_second", "{:,.0f}".format),
    ("parameters", "result", "parameters", "{:,}".format),
    ("multiply-adds", "result", "multiply_adds", "{:,}".format),
)


def _results(compared):
    """The results of each run, with the differences of accuracies from the first run."""
    alike = not any(_differ(compared, "data", name) for name in _TESTED)
    done = (f"{one.facts['epochs']} of {one.facts['epochs_planned']}" for one in compared)
    rows = [["epochs", *done]]
    for title, where, name, written in _ROWS:
        values = [getattr(one, where).get(name) for one in compared]
        texts = [_UNSAID if value is None else written(value) for value in values]
        if written is _share and alike and values[0] is not None:
            for k, value in enumerate(values[1:], 1):
                texts[k] += "" if value is None else f" ({100 * (value - values[0]):+.2f})"
        if {*texts} != {_UNSAID}:
            rows.append([title, *texts])
    note = ""
    if not alike:
        words = "The test images differ, so the accuracies cannot be compared directly."
        note = f"<p class=failed>{words}</p>"
    elif compared[1:]:
        words = f"In brackets: difference from {compared[0].letter} in percentage points."
        note = f"<p><small>{words}</small></p>"
    return f"<h2>Results</h2>{html_table(_titles(compared), rows)}{note}"


def _differ(compared, where, name):
    """Whether the runs that have a value have different values."""
    said = (getattr(one, where) for one in compared)
    return len({_text(fields[name]) for fields in said if name in fields}) > 1


def _titles(compared):
    return ["", *(one.letter for one in compared)]


def _config(compared):
    """Fields whose values differ, and separately those that only some runs have."""
    differ, unknown = [], []
    for name in _names(compared, "config"):
        row = [name, *(_text(one.config.get(name, _UNSAID)) for one in compared)]
        if _differ(compared, "config", name):
            differ.append(row)
        elif _UNSAID in row:
            unknown.append(row)
    titles, words = _titles(compared), 1 + len(compared)
    table = html_table(titles, differ, words) if differ else "<p>None.</p>"
    section = f"<h2>Differences in the config</h2>{table}"
    if unknown:
        section += (
            f"<details><summary>Fields that only some versions have: {len(unknown)}"
            f"</summary>{html_table(titles, unknown, words)}</details>"
        )
    return section


def _data(compared):
    everywhere = set.intersection(*(set(one.data["classes"]) for one in compared))
    rows = []
    for name in _names(compared, "data"):
        if not _differ(compared, "data", name):
            continue
        values = [one.data.get(name, _UNSAID) for one in compared]
        if name == "classes":
            moved = (value != values[0] and {*value} == {*values[0]} for value in values)
            order = (", in another order" if is_moved else "" for is_moved in moved)
            rows.append([name, *(f"{len(v):,}{o}" for v, o in zip(values, order, strict=True))])
            own = ([label for label in value if label not in everywhere] for value in values)
            rows.append(["classes not in all runs", *(some(one, 3) or _UNSAID for one in own)])
        elif name.endswith("sha256"):
            rows.append([name, *(_text(value)[:8] for value in values)])
        else:
            numbers = (f"{value:,}" if isinstance(value, int) else _text(value) for value in values)
            rows.append([name, *numbers])
    if rows:
        table = html_table(_titles(compared), rows, 1 + len(compared))
        return f"<h2>Differences in the images</h2>{table}"
    return f"<h2>Differences in the images</h2><p>None: {compared[0].images}.</p>"


def _names(compared, where):
    return dict.fromkeys(itertools.chain(*(getattr(one, where) for one in compared)))


def _machines(compared):
    """Each machine with its versions once, and the letters of its runs."""
    letters = {}
    for one in compared:
        letters.setdefault(one.machine, []).append(one.letter)
    items = [f"<li><b>{', '.join(of)}</b> {html.escape(text)}" for text, of in letters.items()]
    return f"<h2>Machines</h2><ul class=plain>{''.join(items)}</ul>"


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)
