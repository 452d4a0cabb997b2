"""What an installed wheel must be able to do, with nothing of the checkout near.

`python -P tests/smoke.py` in the environment of the wheel: a training of one epoch, its export, a
prediction by the command and one in Python.
"""

import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import tempfile

COMMAND = pathlib.Path(sysconfig.get_path("scripts")) / "keras-preact"


def run(*arguments):
    """Runs `keras-preact` in the current folder and gives what it printed."""
    print("$ keras-preact", *arguments, flush=True)
    done = subprocess.run([COMMAND, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def main():
    import keras_preact

    installed = pathlib.Path(keras_preact.__file__).resolve().parents[1]
    checkout = pathlib.Path(__file__).resolve().parents[1]  # which may have environments in .nox
    assert installed != checkout, f"{keras_preact.__file__} is the checkout's"
    assert run("--version").split() == ["keras-preact", keras_preact.__version__]

    options = ("--model", "resnet8v2", "--epochs", "1", "--out", "run", "--json")
    print(json.loads(run("train", *options)))
    assert pathlib.Path("run/model.keras").is_file()

    run("export", "run", "--format", "keras", "--out", "exported")
    from PIL import Image

    digits = keras_preact.load_data("digits")
    image = digits.test.images(range(1))
    Image.fromarray(image[0, ..., 0]).save("digit.png")
    print(run("predict", "run", "digit.png"))

    import keras

    scores = keras_preact.load_trained("run").model.predict(image, verbose=0)
    assert scores.shape == (1, 10) and abs(scores.sum() - 1) < 1e-3
    print(keras_preact.__version__, "on", keras.backend.backend(), "and Python", sys.version)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
