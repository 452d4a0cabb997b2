"""`init-study`: a figure of a paper, from its trainings."""

import json
import sys

from keras_preact.console import import_keras_quietly, make_console


def _init_study(arguments) -> None:
    console = make_console(sys.stderr if arguments.json else sys.stdout)
    import_keras_quietly()
    from keras_preact.papers import init_study

    names = ("data", "seeds", "epochs", "out")
    study = init_study(**{name: arguments[name] for name in names}, console=console)
    if arguments.json:
        rows = json.loads(study.frame.to_json(orient="records"))
        print(json.dumps({"sentence": study.sentence, "rows": rows}))
        return
    _show(study.frame)
    console.print(f"{study.sentence}\n{study.folder}: table.csv, curves.png", soft_wrap=True)


def _show(frame) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    titles = ("layers", "initialisation", "loss / ln K", "test error", "begins", "outcome", "paper")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in frame.itertuples():
        loss = f"{row.loss:.3f} ({row.loss_least:.3f} to {row.loss_greatest:.3f})"
        error = f"{row.error:.1%} ({row.error_least:.1%} to {row.error_greatest:.1%})"
        begins = "never" if row.begins != row.begins else f"epoch {row.begins:.1f}"
        cells = (str(row.layers), row.initialisation, loss, error, begins, row.outcome, row.paper)
        table.add_row(*cells)
    make_console(sys.stdout, least_width=150).print(table)


def _init_study_arguments(command) -> None:
    data = "digits, a set of tensorflow-datasets, folder:PATH or npz:PATH; scaled to 16 x 16"
    command.add_argument("--data", type=str, default="digits", help=data)
    seeds = "trainings of each network and initialisation"
    command.add_argument("--seeds", type=int, default=3, help=seeds)
    epochs = "passes over the training images"
    command.add_argument("--epochs", type=int, default=24, help=epochs)
    out = "folder for runs, table and picture; runs/init-study-DATA if not given"
    command.add_argument("--out", type=str, default=None, help=out)
    command.add_argument("--json", action="store_true", help="one JSON object")


COMMANDS = {
    "init-study": (
        _init_study,
        _init_study_arguments,
        "He's initialisation against Xavier's at 22 and 30 layers (rectifier paper, Figures 2, 3)",
    ),
}
