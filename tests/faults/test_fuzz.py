"""Damaged files of every format that is read: refused in a line or read, never anything else.

The mutations are drawn from a seed; one long-lived process opens the files and is started again
when it dies. `-s` shows what came of them; `--fuzz-seconds 180` goes on with each format so long.
"""

import collections
import io
import json
import pathlib
import select
import shutil
import subprocess
import sys
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from keras_preact.weights import save_named, weights_by_layer, write_weights

pytestmark = pytest.mark.tensorflow

KEPT = pathlib.Path(__file__).parents[1] / "kept" / "v0.1.0"

#: Files of each format, and with `--thorough`; what none may take.
FILES, MORE_FILES = 25, 75
SECONDS, MEMORY = 10, 2 * 2**30


class Reader:
    """The process that opens the files."""

    def __init__(self):
        self.start()

    def start(self):
        script = pathlib.Path(__file__).with_name("reader.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([sys.executable, script], **pipes, text=True, bufsize=1)
        assert self.process.stdout.readline() == "ready\n"

    def open(self, **file):
        """What came of a file, and the text that goes with it."""
        try:
            self.process.stdin.write(json.dumps(file) + "\n")
            ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
            answer = self.process.stdout.readline() if ready else ""
        except BrokenPipeError:
            ready, answer = [True], ""
        if not answer:
            self.process.kill()
            code = self.process.wait()
            self.start()
            return ("signal", f"ended with {code}") if ready else ("slow", "")
        found = json.loads(answer)
        if found["memory"] > MEMORY:
            return "memory", f"{found['memory']:,} bytes"
        return found["outcome"], found["said"]


@pytest.fixture(scope="module")
def reader():
    reader = Reader()
    yield reader
    reader.process.stdin.close()
    reader.process.wait()


SPECIAL = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def mutated_once(data, rng):
    return mutated(data, rng, places=(1,))


def mutated(data, rng, places=(1, 1, 2, 3)):
    """Bytes of which one to three places are other than they were."""
    data = bytearray(data)
    for _ in range(rng.choice(places)):
        place = int(rng.integers(max(len(data), 1)))
        length = int(rng.integers(1, 17))
        kind = rng.integers(8)
        if kind <= 2 and data:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 3:
            size = int(rng.choice([1, 2, 4, 8]))
            value = int(SPECIAL[rng.integers(len(SPECIAL))]) % 2 ** (8 * size)
            data[place : place + size] = value.to_bytes(size, "little")
        elif kind == 4:
            del data[place : place + length]
        elif kind == 5:
            data[place:place] = data[max(place - length, 0) : place]
        elif kind == 6:
            data[place : place + length] = rng.bytes(length)
        else:
            del data[place:]
    return bytes(data)


VALUES = [None, True, -1, 0, 10**30, 1e308, "", "x", "..", [], {}, [[]], {"class_name": "Lambda"}]


def mutated_json(data, rng):
    """JSON of which one value is another, or that lacks a key; every other time mutated bytes."""
    if rng.integers(2):
        return mutated(data, rng)
    lines = data.splitlines() if b"\n{" in data else [data]
    number = int(rng.integers(len(lines)))
    try:
        content = json.loads(lines[number])
    except ValueError:
        return mutated(data, rng)
    places = []

    def note(value):
        if isinstance(value, (dict, list)):
            for key in value if isinstance(value, dict) else range(len(value)):
                places.append((value, key))
                note(value[key])

    note(content)
    if places:
        holder, key = places[rng.integers(len(places))]
        if rng.integers(4):
            holder[key] = VALUES[rng.integers(len(VALUES))]
        else:
            del holder[key]
    lines[number] = json.dumps(content).encode()
    return b"\n".join(lines) + b"\n"


def small():
    """A network of few layers, with all that a file can say of one."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(3, 3, padding="same")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Activation("relu")(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, x]))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))


def of_keras(path):
    """A `.keras` file whose members are stored, since a packed one's checksum hides what is in it;
    a mutated member gets the checksum that it has then.
    """
    small().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def mutate(data, rng):
        changed, file = dict(members), io.BytesIO()
        if rng.integers(4) == 0:
            return mutated(data, rng)
        name = ["model.weights.h5", "config.json"][rng.integers(2)]
        change = mutated_json if name == "config.json" else mutated
        changed[name] = change(members[name], rng)
        with zipfile.ZipFile(file, "w") as archive:
            for key, value in changed.items():
                archive.writestr(key, value)
        return file.getvalue()

    return mutate


def of_weights(path):
    small().save_weights(path)


def of_keras_2(path):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv", b"fc"]
        for layer, shape in (("conv", (3, 3, 1, 4)), ("fc", (4, 2))):
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/kernel:0".encode()]
            group[f"{layer}/kernel:0"] = rng.random(shape).astype("f4")


def of_ours(path):
    write_weights(path, weights_by_layer(small()))


def of_named(path):
    save_named(small(), path)


def of_tensors(path):
    rng = np.random.default_rng(0)
    names = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "layer2.0.conv2")
    kernels = {f"{name}.weight": rng.random((4, 4, 3, 3), "f4") for name in names}
    save_file({**kernels, "conv1.weight": rng.random((4, 3, 3, 3), "f4")}, path)


def of_arrays(path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 4, 4, 1)).astype("uint8")
    labels = np.arange(12) % 3
    parts = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    parts |= {"x_val": images, "y_val": labels, "weight_train": labels + 0.5, "group_train": labels}
    np.savez(path, **parts, class_names=["a", "b", "c"])


def of_image(**options):
    def make(path):
        pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3)).astype("uint8")
        Image.fromarray(pixels).save(path, **options)

    return make


#: Format: (suffix, kind of reader, what makes a file, what mutates it)
FORMATS = {
    ".keras": (".keras", "network", of_keras),
    ".weights.h5": (".weights.h5", "weights", of_weights),
    ".weights.h5, ours": (".weights.h5", "weights", of_ours),
    ".h5": (".h5", "weights", of_keras_2),
    ".safetensors": (".safetensors", "source", of_tensors),
    ".safetensors, ours": (".safetensors", "weights", of_named),
    ".npz": (".npz", "arrays", of_arrays),
    "PNG": (".png", "image", of_image()),
    "JPEG": (".jpg", "image", of_image(quality=90)),
}

#: Folders: (what is copied, kind of reader, the files that are mutated)
FOLDERS = {
    "run": ("finished-float32", "run", ("*.json", "*.jsonl")),
    "checkpoint": ("finished-float32/checkpoints", "checkpoint", ("*/*",)),
    "search": ("search", "search", ("*.json", "trials/**/*.json")),
    "search's state": ("search/trials", "state", ("*.json", "trial_*/*.json")),
}

#: What this package has written is read as it was or refused, wherever one place has changed; files
#: of others may say other things.
OURS = (".weights.h5, ours", ".safetensors, ours", "checkpoint")


def fuzz(config, open_one):
    """Counts of what came of mutated files, and those of each that must not be."""
    seconds = config.getoption("--fuzz-seconds")
    if seconds is None:
        seconds = 140 if config.getoption("--run-slow") else 0
    files = MORE_FILES if config.getoption("--thorough") else FILES
    counts, bad, number, start = collections.Counter(), {}, 0, time.monotonic()
    while number < files or time.monotonic() - start < seconds:
        outcome, said, file = open_one(np.random.default_rng(number))
        counts[outcome] += 1
        if outcome not in ("refused", "equal", "other"):
            bad.setdefault(outcome, []).append((number, file, said))
        number += 1
    return counts, bad


def report(name, counts, bad, ours):
    print(f"\n{name}: {dict(counts)}")
    assert not bad, f"{ {kind: len(found) for kind, found in bad.items()} }\n" + "\n".join(
        f"{number} {file}: {said}" for found in bad.values() for number, file, said in found[:3]
    )
    assert not (ours and counts["other"])


@pytest.mark.parametrize("name", FORMATS)
def test_files(name, reader, tmp_path, request):
    suffix, kind, make = FORMATS[name]
    original, path = tmp_path / f"original{suffix}", tmp_path / f"mutated{suffix}"
    mutate = make(original) or (mutated_once if name in OURS else mutated)
    data = original.read_bytes()

    def open_one(rng):
        path.write_bytes(mutate(data, rng))
        return *reader.open(kind=kind, path=str(path), original=str(original)), path.name

    counts, bad = fuzz(request.config, open_one)
    report(name, counts, bad, name in OURS)
    assert counts["refused"]


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(name, reader, tmp_path, request):
    kept, kind, patterns = FOLDERS[name]
    original, path = tmp_path / "original" / "x", tmp_path / "mutated" / "x"
    for copy in (original, path):
        shutil.copytree(KEPT / kept, copy)
    files = sorted(file for pattern in patterns for file in original.glob(pattern))

    def open_one(rng):
        file = files[rng.integers(len(files))]
        changed = path / file.relative_to(original)
        mutate = mutated_json if file.suffix in (".json", ".jsonl") else mutated
        changed.write_bytes(mutate(file.read_bytes(), rng))
        found = reader.open(kind=kind, path=str(path), original=str(original))
        if kind == "state":  # which mends what it finds
            shutil.rmtree(path)
            shutil.copytree(original, path)
        else:
            shutil.copyfile(file, changed)
        return *found, changed.name

    counts, bad = fuzz(request.config, open_one)
    report(name, counts, bad, name in OURS)


def test_a_mutation_is_one():
    data = bytes(range(256)) * 4
    assert sum(mutated(data, np.random.default_rng(k)) != data for k in range(200)) > 180
