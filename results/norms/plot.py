"""The losses of the first 100 steps without normalisation, as a picture.

    python results/norms/plot.py

reads `METHOD-DEPTH/steps.jsonl` beside this file and writes `curves.png`.
"""

import json
import pathlib

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = pathlib.Path(__file__).parent
METHODS = {"skip_init": "SkipInit", "rezero": "ReZero", "fixup": "Fixup"}
WINDOW = 10  # steps whose mean is drawn


def main():
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
    for axis, (depth, batch) in zip(axes, ((110, 64), (1001, 16)), strict=True):
        for method, name in METHODS.items():
            file = HERE / f"{method}-{depth}" / "steps.jsonl"
            losses = [json.loads(line)["loss"] for line in file.read_text().splitlines()]
            means = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), "valid")
            axis.plot(np.arange(len(means)) + WINDOW, means, label=name)
        axis.axhline(np.log(10), color="gray", linewidth=0.8, linestyle=":", label="chance")
        axis.set(title=f"{depth} layers, batches of {batch}", xlabel="step")
    axes[0].set_ylabel(f"training loss, mean of {WINDOW} steps")
    axes[0].legend(frameon=False)
    figure.savefig(HERE / "curves.png", dpi=120)


if __name__ == "__main__":
    main()
