"""What training in 16 bits does to the accuracy: the same trainings in several dtypes."""

import statistics
import tempfile

from jsonargparse import auto_cli

from benchmarks.report import progress, show
from keras_preact import TrainConfig, train
from keras_preact.cli.arguments import settings_of

COLUMNS = ["network", "dtype", "test error", "least to greatest", "kept in float32", "images/s"]

#: ResNet-20 V2 as it is, with learned rectifiers, and with gates.
NETWORKS = (
    "resnet20v2",
    "resnet20v2 activation=prelu",
    "resnet20v2 shortcut=shortcut_only_gating gate_bias=-6.0",
)


def main(
    networks: tuple[str, ...] = NETWORKS,
    dtypes: tuple[str, ...] = ("float32", "mixed_bfloat16"),
    data: str = "digits",
    recipe: str = "quick",
    epochs: int = 30,
    seeds: int = 3,
    json: bool = False,
):
    """Trains each network in each dtype with equal seeds, and compares errors on the test images.

    Args:
        networks: Names of networks, each with fields to change: `resnet20v2 activation=prelu`.
        dtypes: Dtype policies.
        data: The data set.
        recipe: The recipe.
        epochs: Passes over the training images.
        seeds: Trainings of each; their seeds are 0, 1, ...
        json: Print JSON instead of a table.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            for network in networks:  # dtypes take turns: machines drift
                for dtype in dtypes:
                    progress(f"seed {seed}: {network}, {dtype}")
                    out = f"{folder}/{len(found)}"
                    config = _config(network).replace(
                        data=data, recipe=recipe, epochs=epochs, dtype=dtype, seed=seed, out=out
                    )
                    result = train(config)
                    kept = result.float32_accuracy
                    found.append(
                        {
                            "network": network,
                            "dtype": dtype,
                            "seed": seed,
                            "error": 1 - result.test_accuracy,
                            "kept": None if kept is None else 1 - kept,
                            "speed": result.images_per_second,
                        }
                    )
    rows = [_row(network, dtype, found) for network in networks for dtype in dtypes]
    show(f"Errors on {data}, {epochs} epochs, {seeds} seeds", COLUMNS, rows, json, found)


def _config(network):
    name, *fields = network.split()
    settings = settings_of(f"network.{field}" for field in fields)
    return TrainConfig(name, settings=settings, saved_model=False)


def _row(network, dtype, found):
    mine = [row for row in found if (row["network"], row["dtype"]) == (network, dtype)]
    errors = [row["error"] for row in mine]
    kept = [row["kept"] for row in mine if row["kept"] is not None]
    return [
        network,
        dtype,
        f"{statistics.median(errors):.2%}",
        f"{min(errors):.2%} to {max(errors):.2%}",
        f"{statistics.median(kept):.2%}" if kept else "",
        statistics.median(row["speed"] for row in mine),
    ]


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
