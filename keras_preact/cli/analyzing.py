"""`analyze`: a look inside networks; `chain`: vanishing gradients, number by number."""

import dataclasses
import json
import sys

from keras_preact.checked import require
from keras_preact.cli.arguments import add_fields, add_settings, settings_of
from keras_preact.console import import_keras_quietly, make_console

#: Columns of the summary on the terminal: title, and how a value is written.
_COLUMNS = {
    "network": ("network", "{}"),
    "state": ("weights", "{}"),
    "units": ("units", "{:d}"),
    "signal_growth": ("signal,\nlast / first", "{:.3g}"),
    "negative": ("below\n0", "{:.0%}"),
    "gradient_first_over_last": ("gradient,\nfirst / last", "{:.3g}"),
    "gradient_factor": ("a unit", "{:.3g}"),
    "inactive": ("not\nactive", "{:.0%}"),
}

#: Files to look at.
_SHOWN = (".png", ".html")


def _analyze(arguments) -> None:
    console = make_console(sys.stderr if arguments.json else sys.stdout)
    import_keras_quietly()
    from keras_preact.analysis import AnalyzeConfig, analyze

    values = {name: arguments[name] for name in AnalyzeConfig.field_names() if name in arguments}
    values["settings"] = settings_of(arguments.set)
    config = AnalyzeConfig(**values)
    alone = len(config.networks) == 1 or not arguments.compare
    fix = "Add --compare for one folder, or leave out --out."
    one = config.out is None or len(config.networks) == 1 or arguments.compare
    require(one, "out", config.out, "left out with several networks, which each get a folder", fix)
    parts = [(name,) for name in config.networks] if alone else [config.networks]
    for networks in parts:
        found = analyze(dataclasses.replace(config, networks=networks), console=console)
        if arguments.json:
            rows = json.loads(found.tables["summary"].to_json(orient="records"))  # NaN as null
            print(json.dumps({"folder": str(found.folder), "summary": rows, "words": found.words}))
        else:
            _show(found, console)


def _show(found, console) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for k, (title, _) in enumerate(_COLUMNS.values()):
        table.add_column(title, justify="left" if k < 2 else "right", overflow="fold")
    for row in found.tables["summary"].to_dict("records"):
        table.add_row(*(form.format(row[name]) for name, (_, form) in _COLUMNS.items()))
    make_console(sys.stdout, least_width=100).print(table)
    for topic, sentences in found.words.items():
        console.print(f"[bold]{topic}[/bold]", markup=True)
        for sentence in sentences:
            console.print(f"  {sentence}")
    names = sorted(path.name for path in found.folder.glob("*.*") if path.suffix in _SHOWN)
    console.print(f"{found.folder}: {', '.join(names)}, words.md, tables as CSV", soft_wrap=True)


def _analyze_arguments(command) -> None:
    from keras_preact.analysis.config import AnalyzeConfig

    command.add_argument(
        "networks",
        nargs="+",
        metavar="NETWORK",
        help="names of networks, folders of finished runs, .keras or .safetensors files, "
        "hf://user/name, or published weights by tag, such as resnet20v2@cifar10",
    )
    words = "put all networks into the same tables and plots, instead of a folder each"
    command.add_argument("--compare", action="store_true", help=words)
    add_fields(command, AnalyzeConfig, leave_out=("networks", "settings"))
    add_settings(command)
    words = "print one JSON object; everything else goes to standard error"
    command.add_argument("--json", action="store_true", help=words)


#: Columns that are zeros in a chain without shortcuts.
_OF_SHORTCUTS = ["through_shortcut", "weight_through_shortcut", "residual_gradient"]


def _chain(arguments) -> None:
    from keras_preact.analysis import chain, chain_in_words

    names = ("depth", "x", "target", "activation")
    fields = {name: arguments[name] for name in names}
    weights, residual_weight = arguments.weights, arguments.residual_weight
    fields["weights"] = weights[0] if len(weights) == 1 else weights
    chains = {"plain": chain(**fields)}
    reaches = not residual_weight or arguments.depth >= 3
    fix = "Shortcuts begin at the third layer."
    require(reaches, "depth", arguments.depth, "at least 3 with a residual weight", fix)
    if residual_weight:
        label = f"residual weight {residual_weight:g}"
        chains[label] = chain(residual_weight=residual_weight, **fields)
    for label, frame in chains.items():
        shown = frame.drop(columns=_OF_SHORTCUTS) if label == "plain" else frame
        print(label, shown.to_string(index=False, float_format="{:.4g}".format), sep="\n")
        print(chain_in_words(frame), end="\n\n")
    if arguments.out:
        import_keras_quietly()
        from keras_preact.analysis import plot_chain
        from keras_preact.evaluation import save_figure

        save_figure(plot_chain(chains), arguments.out)
        print(arguments.out)


def _chain_arguments(command) -> None:
    command.add_argument(
        "--depth", type=int, default=3, help="number of layers, with one weight each"
    )
    words = "weight of each layer, or one for all"
    command.add_argument("--weights", type=float, nargs="+", default=[0.1], help=words)
    words = "weight of the shortcut around each layer from the third on; shown beside the plain "
    words += "chain"
    command.add_argument("--residual-weight", type=float, default=0.0, help=words)
    command.add_argument("--x", type=float, default=0.5, help="the input")
    command.add_argument("--target", type=float, default=1.0, help="target t of the loss (t - y)²")
    words = "activation of all layers"
    choices = "{sigmoid,tanh,relu,linear}"
    command.add_argument("--activation", type=str, default="sigmoid", metavar=choices, help=words)
    words = "write a plot of the gradients (PNG)"
    command.add_argument("--out", type=str, default=None, metavar="FILE", help=words)


COMMANDS = {
    "analyze": (
        _analyze,
        _analyze_arguments,
        "measure signals, gradients, gates and rectifiers inside networks",
    ),
    "chain": (
        _chain,
        _chain_arguments,
        "show every number in a chain of scalar layers, with and without shortcuts",
    ),
}
