"""`model_card`: what a network is, how it was trained and what it can do, for its users."""

import os
from typing import TYPE_CHECKING, Any

import yaml

from keras_preact.data.load import source

if TYPE_CHECKING:
    from keras_preact.trained import Trained

#: Fields of a network to show, where they are set.
_NETWORK = (
    "block", "units", "filters", "placement", "shortcut", "projection", "activation",
    "initializer", "normalization",
)  # fmt: skip
_RECIPE = (
    "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "weight_decay", "momentum",
    "nesterov", "loss", "augmentation", "label_smoothing", "mixup", "cutmix",
)  # fmt: skip


def model_card(
    trained: "Trained",
    exports: dict[str, dict[str, Any]] | None = None,
    result: dict[str, Any] | None = None,
    hub: str | None = None,
) -> str:
    """A model card in the format of the Hugging Face Hub: metadata in YAML, then Markdown.

    Args:
        trained: A `Trained`.
        exports: `{file: fields of its Exported}` for the files beside the card.
        result: Fields of the run's `Result`; read from the run folder if not given.
        hub: `"hf://user/name"` of a repository that the card is for.

    Returns:
        The text of a `README.md`.

    Example:
        >>> import tempfile
        >>> from keras_preact import create_model
        >>> from keras_preact.card import model_card
        >>> from keras_preact.trained import load_trained
        >>> path = tempfile.mkdtemp() + "/mine.keras"
        >>> create_model("resnet8v2", input_shape=(8, 8, 1), classes=3).save(path)
        >>> "classes: 0, 1, 2" in model_card(load_trained(path))
        True
    """
    metadata = {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "resnet", "residual-networks"],
    }
    parts = []
    if trained.run:
        result = result or trained.run.result
        metadata |= _metadata(result)
        parts += [
            _results(trained.run, result),
            _network(trained.run, result),
            _recipe(trained.run),
        ]
    parts.append(_use(trained, exports or {}, hub))
    if trained.run:
        parts += [_limits(result), *_citation(trained.run)]
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n# {title_of(trained, result)}\n\n" + "\n\n".join(parts) + "\n"


def title_of(trained: "Trained", result: dict[str, Any] | None = None) -> str:
    """The title of a model card: the name of the network, and what it was trained on.

    Args:
        trained: A `Trained`.
        result: As in `model_card`.
    """
    if not trained.run:
        return trained.name
    result = result or trained.run.result
    return f"{result['model']} on {_named(result)}"


def _named(result):
    """The data set of a result, without the folders that it lies in, nobody else's business."""
    kind, path = source(result["data"])
    return path if kind == "name" else f"{kind}:{os.path.basename(os.path.normpath(path))}"


def _metadata(result):
    accuracy = {"type": "accuracy", "value": round(result["test_accuracy"], 6)}
    measured = {
        "task": {"type": "image-classification"},
        "dataset": {"name": _named(result), "type": result["data"].partition(":")[0]},
        "metrics": [accuracy],
    }
    return {
        "metrics": ["accuracy"],
        "model-index": [{"name": result["model"], "results": [measured]}],
    }


def _results(run, result):
    images = run.read_json("data.json")
    skipped = f", {result['skipped_images']} damaged files left out" * bool(
        result["skipped_images"]
    )
    ending = f"{_kept(result)}{_in_float32(result)}"
    return (
        f"**{result['test_accuracy']:.2%}** of {result['test_images']:,} test images "
        f"({result.get('tested', 'its test part')}) are classified correctly "
        f"({result['test_correct']:,}){_by_class(result)}, after {result['epochs']} epochs on "
        f"{images['training_images']:,} training images{skipped}. {ending}"
    )


def _kept(result):
    kept, best = result.get("kept_epoch"), result.get("best_epoch")
    if kept is None or best is None:
        return "These are the weights of the last epoch; no test image was used to choose it."
    which = f"These are the weights of epoch {kept}, the best on the validation images"
    if kept != best:
        which = (
            f"These are the last epoch's weights; epoch {best} was best on the validation images"
        )
    accuracy = result["validation_accuracy"]
    return f"{which} (accuracy {accuracy:.2%}); no test image was used to choose it."


def _by_class(result):
    if result.get("balanced_accuracy") is None:  # of a run of an early version
        return ""
    return (
        f"; balanced accuracy {result['balanced_accuracy']:.2%}, lowest recall "
        f"{result['worst_recall']:.1%} ({result['worst_class']!r})"
    )


def _in_float32(result):
    if result.get("float32_accuracy") is None:
        return ""
    return (
        f" This is in {result['dtype']}, as in training. The network here computes in float32: "
        f"{result['float32_accuracy']:.2%}, with scores that differ by at most "
        f"{result['float32_difference']:.1g}."
    )


def _network(run, result):
    fields = run.read_json("resolved.json")["network"]
    lines = _table("network", {name: fields[name] for name in _NETWORK})
    return (
        f"## Network\n\n{result['parameters']:,} parameters, {result['multiply_adds']:,} "
        f"multiply-adds per image.\n\n{lines}"
    )


def _recipe(run):
    recipe, made = run.read_json("resolved.json")["recipe"], run.read_json("env.json")
    fields = {name: recipe[name] for name in _RECIPE if recipe.get(name) not in (None, 0, False)}
    if (balance := recipe.get("balance", "none")) != "none":
        fields["balance"] = balance
    fields |= {"seed": run.config["seed"], "dtype": made["decided"]["dtype"]}
    fields |= {"devices": made["devices"], "backend": made["backend"]}
    versions = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    return f"## Training\n\n{_table('recipe', fields)}\n\nWith {versions}."


def _use(trained, exports, hub=None):
    height, width, channels = trained.image_shape
    size = f"{height or 'any'} x {width or 'any'} x {channels}"
    names, last = trained.class_names, getattr(trained.model.layers[-1], "activation", None)
    sums = getattr(last, "__name__", "") == "softmax"
    shown = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
    lines = [
        "## Use",
        f"The input is raw images, values 0 to 255, {size}; preprocessing is part of the network."
        f"{' The output scores add up to 1.' if sums else ''}",
        f"Image files are resized as follows: {trained.geometry} (`geometry.json`).",
        f"classes: {shown}",
    ]
    if hub:
        lines.append(
            "```python\nimport keras_preact\n\nmodel = keras_preact.convert("
            f'"{hub}", include_preprocessing=True)\nscores = model.predict(images)\n```'
        )
    elif "model.keras" in exports or not exports:
        file = "model.keras" if exports or trained.run else trained.path.name
        shape = f"(n, {height or 'h'}, {width or 'w'}, {channels})"
        lines.append(
            f'```python\nimport keras\n\nmodel = keras.models.load_model("{file}")\n'
            f"scores = model.predict(images)  # {shape}\n```"
        )
    has = trained.run and (trained.path / "saved_model").is_dir()
    if has or any(name.startswith("saved_model") for name in exports):
        lines.append(served_files(trained))
        lines.append(
            "On x86 processors `TF_ONEDNN_ASSUME_FROZEN_WEIGHTS=1` in the environment of a process "
            "that serves a SavedModel, and trains nothing, makes single images faster."
        )
    if exports:
        rows = {
            name: f"{found['megabytes']} MB, largest difference in a score "
            f"{found['difference']:.1g}{_rounded(found)}"
            for name, found in exports.items()
        }
        lines.append(_table("file", rows))
    return "\n\n".join(lines)


def served_files(trained: "Trained") -> str:
    """Which files a SavedModel reads, and how its decoding differs from that in training."""
    changed = trained.geometry.reading.changed()
    words = "`serve_bytes` of the SavedModel reads JPEG and PNG files only"
    if not changed:
        return f"{words}."
    return (
        f"{words}, as TensorFlow decodes them. It does not support {', '.join(changed)}, as "
        "used in training. If that matters, decode files with `keras_preact.data.decode` and pass "
        "the pixels to `serving_default`."
    )


def _rounded(found):
    before, after, words = found["accuracy_before"], found["accuracy_after"], ""
    if after is not None:
        kind = found.get("precision") or found["quantized"] or found["dtype"]  # early versions
        words = f"; {kind}: accuracy {after:.2%}, before {before:.2%}{losses_in_words(found)}"
    if found.get("temperature") is not None:  # of no export of an early version
        words += f"; {calibration_in_words(found)}"
    return words


def losses_in_words(found: dict[str, Any]) -> str:
    """What quantization costs besides accuracy, from the fields of an `Exported`."""
    words = ""
    if kept := found.get("kept_float"):
        words += f"; {', '.join(kept)} stay float"
    if lost := found.get("classes_lost"):
        named = ", ".join(f"{name} ({100 * value:.1f})" for name, value in lost.items())
        words += f"; recall lost per class, in points: {named}"
    return words


def calibration_in_words(found: dict[str, Any]) -> str:
    """What the temperature of an export changes, from the fields of its `Exported`."""
    return (
        f"logits are divided by {found['temperature']:.3g}, fitted to validation images: "
        f"calibration error on test images {found['calibration_before']:.2%} before, "
        f"{found['calibration_after']:.2%} after"
    )


def _limits(result):
    return (
        f"## Limits\n\nThe figures hold for the test images of {_named(result)}. Other images may "
        "give worse results, and any image at all is assigned one of the classes."
    )


def _citation(run):
    file = run.path / "citations.bib"
    if not file.is_file():  # of a run that an early version began
        return []
    return [f"## Citation\n\n```bibtex\n{file.read_text().strip()}\n```"]


def _table(title, fields):
    rows = "".join(f"| {name} | {_shown(value)} |\n" for name, value in fields.items())
    return f"| {title} | |\n| --- | --- |\n{rows}".rstrip()


def _shown(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
