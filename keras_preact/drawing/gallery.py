"""`draw_gallery`: the variants of one kind side by side."""

import string

from keras_preact.config import ResNetConfig
from keras_preact.drawing.grid import sheet_of
from keras_preact.drawing.layout import framed, layout_units
from keras_preact.drawing.paths import read_unit
from keras_preact.drawing.sheet import paint
from keras_preact.drawing.variants import GALLERIES
from keras_preact.errors import ConfigError, near, quoted

#: Units in a row, where not all of a gallery's.
_COLUMNS = {"shortcuts": 4}


def draw_gallery(name: str):
    """The variants of one kind side by side, as in the papers' figures.

    Args:
        name: `"shortcuts"` (Identity Mappings, Figure 2), `"placements"` (Figure 4), `"blocks"`
            (Deep Residual Learning, Figure 5), `"dimensions"` (the options of its section 3.3
            and of the appendix of Identity Mappings, for a unit that halves the map) or
            `"asymmetry"` (Identity Mappings, Figure 5: how an activation behind the addition
            becomes one ahead of the weights).

    Returns:
        A `matplotlib.figure.Figure`; `save_drawing` writes it.

    Raises:
        ConfigError: For another name.

    Example:
        >>> from keras_preact.drawing import draw_gallery
        >>> figure = draw_gallery("blocks")
        >>> [text.get_text() for text in figure.axes[0].texts if "(" in text.get_text()]
        ['(a) basic', '(b) bottleneck', '(c) single', '(d) basic2x2']
    """
    if name not in GALLERIES:
        raise ConfigError(
            f"The galleries are {quoted(GALLERIES)}. Received: {name!r}.{near(name, GALLERIES)}"
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
