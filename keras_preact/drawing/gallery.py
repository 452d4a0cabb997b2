"""`draw_gallery`: the variants of one kind side by side."""

import string
from typing import TYPE_CHECKING

from keras_preact.config import ResNetConfig
from keras_preact.drawing.grid import sheet_of
from keras_preact.drawing.layout import framed, layout_units
from keras_preact.drawing.paths import read_unit
from keras_preact.drawing.sheet import paint
from keras_preact.drawing.variants import GALLERIES
from keras_preact.errors import ConfigError, near, quoted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Units per row of the galleries that have more than one row.
_COLUMNS = {"shortcuts": 4, "placements": 5}


def draw_gallery(name: str) -> "Figure":
    """Draws the variants of one kind side by side, as in the papers' figures.

    Args:
        name: `"shortcuts"` (Identity Mappings, Figure 2), `"placements"` (Figure 4), `"blocks"`
            (Deep Residual Learning, Figure 5), `"dimensions"` (the options of its section 3.3
            and of the appendix of Identity Mappings, for a unit that halves the feature map) or
            `"asymmetry"` (Identity Mappings, Figure 5: how an activation after the addition
            becomes one before the weights).

    Returns:
        A `matplotlib.figure.Figure`; `save_drawing` writes it.

    Raises:
        ConfigError: If the name is unknown.

    Example:
        >>> from keras_preact.drawing import draw_gallery
        >>> figure = draw_gallery("blocks")
        >>> [text.get_text() for text in figure.axes[0].texts if "(" in text.get_text()]
        ['(a) basic', '(b) bottleneck', '(c) single', '(d) basic2x2']
    """
    if name not in GALLERIES:
        raise ConfigError(
            f"`name` must be one of {quoted(GALLERIES)}. Received: name={name!r}."
            f"{near(name, GALLERIES)}"
        )
    units = [
        (letter, variant.caption, _shapes(variant))
        for letter, variant in zip(string.ascii_lowercase, GALLERIES[name].values(), strict=False)
    ]
    return paint(sheet_of(units, _COLUMNS.get(name, len(units))))


def _shapes(variant):
    paths = read_unit(ResNetConfig(**variant.fields), **variant.unit)
    shapes = layout_units(*[paths] * variant.count)
    for start, end in variant.frames:
        shapes = framed(shapes, start, end)
    return shapes
