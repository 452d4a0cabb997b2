"""Makes of a run weights that come with the package: in half precision, with a card.

    python results/weights.py RUN TAG

writes `NETWORK-TAG.safetensors` and `.json` to `keras_preact/applications/trained/`, and prints the
row of `published.csv` and the entry of `PREPROCESSINGS` to add. The accuracy is that of the weights
as they are stored.
"""

import hashlib
import json
import pathlib
import sys

import keras_preact
from keras_preact.evaluation import evaluate
from keras_preact.run import RunFolder
from keras_preact.weights import read_source, save_named

FOLDER = pathlib.Path(keras_preact.__file__).parent / "applications/trained"


def main(run, tag) -> None:
    source, run = read_source(run), RunFolder(run)
    network, preprocessing = run.config["model"], source.preprocessing
    path = FOLDER / f"{network}-{tag}.safetensors"
    halves = keras_preact.convert(source, dtype="float16")
    save_named(halves, path, source.config, preprocessing, source.geometry)

    data = keras_preact.load_trained(run.path).load_data()
    found = evaluate(keras_preact.load_trained(path).model, data.test, data.class_names)
    resolved, environment = run.read_json("resolved.json"), run.read_json("env.json")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = {
        "network": network,
        "tag": tag,
        "config": resolved["network"],
        "recipe": resolved["recipe"],
        "augmentation": resolved["augmentation"],
        "seed": run.config["seed"],
        "command": ["keras-preact", *environment["command"][1:]],
        "test_images": len(found.labels),
        "test_correct": found.correct,
        "test_accuracy": found.accuracy,
        "precision": f"trained in {environment['decided']['dtype']}, stored in float16; "
        "the accuracy is that of the stored weights",
        "preprocessing": {
            "mean": preprocessing.mean,
            "variance": [deviation**2 for deviation in preprocessing.deviation],
        },
        "packages": environment["packages"],
        "sha256": digest,
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    shape, error = " ".join(map(str, data.image_shape)), 100 * (1 - found.accuracy)
    row = (network, tag, len(data.class_names), shape, f"{error:.2f}", tag, "keras_preact", "", "")
    print(*row, path.name, f"sha256:{digest}", "", "", sep=",")
    print(f'    "{tag}": Preprocessing({preprocessing.mean}, {preprocessing.deviation}),')


if __name__ == "__main__":
    main(*sys.argv[1:])
