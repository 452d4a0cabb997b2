"""How exclusive gates open while a network trains, as a picture.

    python results/gates/plot.py

reads `bias*/watch-gates.csv` beside this file and writes `gates.png`.
"""

import json
import pathlib

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

HERE = pathlib.Path(__file__).parent


def main():
    figure, (gates, biases) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for folder in sorted(HERE.glob("bias*/"), key=lambda folder: -float(folder.name[4:])):
        recipe = json.loads((folder / "resolved.json").read_text())["recipe"]
        pace = recipe["learning_rate"] * recipe["weight_decay"] / (1 - recipe["momentum"])
        initial = float(folder.name[4:])
        by_step = pd.read_csv(folder / "watch-gates.csv").groupby("step")
        steps, opened = by_step["mean"].median().index, by_step["mean"]
        (line,) = gates.plot(steps, opened.median())
        gates.fill_between(steps, opened.min(), opened.max(), color=line.get_color(), alpha=0.2)
        median = by_step["bias"].median()
        biases.plot(steps, median, color=line.get_color(), label=f"initial bias {initial:g}")
        alone = initial * np.exp(-pace * steps.to_numpy())
        biases.plot(steps, alone, color="black", linestyle=":", linewidth=0.8)
    gates.set(yscale="log", ylabel="mean of the gate (median, range)")
    biases.set_ylabel("bias (dotted: by decay alone)")
    for axis in (gates, biases):
        axis.set_xlabel("step")
        axis.xaxis.set_major_formatter("{x:,.0f}")
    biases.legend(frameon=False, loc="center right")
    figure.savefig(HERE / "gates.png", dpi=120)


if __name__ == "__main__":
    main()
