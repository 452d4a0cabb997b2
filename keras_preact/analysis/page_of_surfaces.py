"""`surface_page`: loss surfaces on a self-contained page, each of which can be rotated."""

import html
import json
from typing import TYPE_CHECKING

import numpy as np

from keras_preact.analysis.series import groups
from keras_preact.analysis.surface_plots import levels_of
from keras_preact.checked import require
from keras_preact.evaluation.page import html_page

if TYPE_CHECKING:
    import pandas as pd

#: Draws each surface, the furthest squares first, and rotates it when the pointer is dragged.
_SCRIPT = """
const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
function color(share, light) {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const k = Math.min(Math.floor(at), stops.length - 2);
  const mix = stops[k].map((v, i) => light * (v + (at - k) * (stops[k + 1][i] - v)));
  return `rgb(${mix.map(Math.round).join()})`;
}
function surface(canvas) {
  const heights = JSON.parse(canvas.dataset.heights), last = heights.length - 1;
  const context = canvas.getContext("2d");
  let turn = 0.6, tilt = 0.6, from = null;
  function draw() {
    const wide = canvas.width, scale = wide * 0.32, [s, c] = [Math.sin(turn), Math.cos(turn)];
    const points = heights.map((row, j) => row.map((height, i) => {
      const x = 2 * i / last - 1, y = 2 * j / last - 1, z = 1.4 * height - 0.7;
      const far = s * x + c * y;
      return {x: wide / 2 + scale * (c * x - s * y),
              y: canvas.height / 2 - scale * (z * Math.cos(tilt) - far * Math.sin(tilt)),
              depth: far * Math.cos(tilt) + z * Math.sin(tilt)};
    }));
    const squares = [];
    for (let j = 0; j < last; j++) for (let i = 0; i < last; i++) {
      const corners = [points[j][i], points[j][i + 1], points[j + 1][i + 1], points[j + 1][i]];
      const own = [heights[j][i], heights[j][i + 1], heights[j + 1][i + 1], heights[j + 1][i]];
      const slope = c * (own[1] - own[0]) - s * (own[3] - own[0]);
      squares.push({corners, height: (own[0] + own[1] + own[2] + own[3]) / 4,
                    light: Math.min(Math.max(0.9 + slope * last / 12, 0.6), 1.15),
                    depth: corners.reduce((sum, point) => sum + point.depth, 0)});
    }
    context.clearRect(0, 0, wide, canvas.height);
    squares.sort((a, b) => a.depth - b.depth).forEach(({corners, height, light}) => {
      context.beginPath();
      corners.forEach(point => context.lineTo(point.x, point.y));
      context.closePath();
      context.fillStyle = context.strokeStyle = color(height, light);
      context.fill();
      context.stroke();
    });
  }
  canvas.onpointerdown = event => { from = event; canvas.setPointerCapture(event.pointerId); };
  canvas.onpointerup = () => { from = null; };
  canvas.onpointermove = event => {
    if (!from) return;
    turn += (event.clientX - from.clientX) / 150;
    tilt = Math.min(Math.max(tilt + (event.clientY - from.clientY) / 150, 0), 1.5);
    from = event;
    draw();
  };
  draw();
}
document.querySelectorAll("canvas").forEach(surface);
"""


def surface_page(surface: "pd.DataFrame") -> str:
    """Makes a self-contained HTML page with loss surfaces that can be rotated.

    Heights and colours show the logarithm of the loss, on the same scale for all surfaces; values
    that are not finite or above 1000 times the lowest loss are clipped.

    Args:
        surface: `Analysis.tables["surface"]`, of planes.

    Returns:
        The HTML of the page.

    Raises:
        ConfigError: If the table is of lines.

    Example:
        >>> import pandas as pd
        >>> from keras_preact.analysis import surface_page
        >>> plane = {"x": [0, 1, 0, 1], "y": [0, 0, 1, 1], "loss": [1.0, 2.0, 4.0, 8.0]}
        >>> page = surface_page(pd.DataFrame(plane).assign(network="net", state="trained"))
        >>> "[[0.0, 0.333], [0.667, 1.0]]" in page
        True
    """
    require("y" in surface, "surface", [*surface], "the table of a plane, with columns x and y")
    levels, sections = levels_of(surface["loss"]), []
    low, high = np.log(levels[0]), np.log(levels[-1])
    for label, table, _ in groups(surface):
        loss = table.pivot(index="y", columns="x", values="loss").to_numpy(float)
        loss = np.nan_to_num(loss, nan=levels[-1], posinf=levels[-1])
        heights = (np.log(np.clip(loss, levels[0], levels[-1])) - low) / (high - low)
        sections.append(
            f"<h2>{html.escape(label)}</h2><p>Loss {table['loss'].min():.3g} to "
            f"{table['loss'].max():.3g}, {len(table)} points. Drag to rotate.</p>"
            '<canvas width="720" height="560" style="max-width: 100%; touch-action: none" '
            f'data-heights="{json.dumps(heights.round(3).tolist())}"></canvas>'
        )
    return html_page("Loss around the weights", [*sections, f"<script>{_SCRIPT}</script>"])
