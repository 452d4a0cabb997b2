"""Units on one sheet: titles above them, a legend below."""

from collections.abc import Sequence

from keras_preact.drawing.layout import bottom
from keras_preact.drawing.sheet import (
    TITLE,
    Label,
    Sheet,
    extent,
    legend,
    moved,
)


def sheet_of(units: Sequence[tuple[str, str, list]], columns: int = 1) -> Sheet:
    """Units in a grid, each titled with its letter and caption, and one legend for all.

    Args:
        units: `(letter, caption, shapes)` of each unit.
        columns: Units per row.
    """
    rows = [units[k : k + columns] for k in range(0, len(units), columns)]
    captions = [[_caption(letter, caption) for letter, caption, _ in row] for row in rows]
    widths = [0.0] * columns
    for row, heads in zip(rows, captions, strict=True):
        for k, ((_, _, shapes), head) in enumerate(zip(row, heads, strict=True)):
            spans = [extent(part) for part in (shapes, head) if part]
            widths[k] = max(widths[k], *(high - low for low, high in spans))
    key = legend([shape for _, _, shapes in units for shape in shapes])
    margin, space = 0.1, 0.27
    inner = sum(widths) + space * (columns - 1)
    key_rows = _wrapped(key, max(inner, 4.0 if columns == 1 else inner))
    key_width = max(extent(row)[1] for row in key_rows)
    width = max(inner, key_width) + 2 * margin
    placed, y = [], margin
    for row, heads in zip(rows, captions, strict=True):
        top = max((0.2 * len(head) for head in heads), default=0) + 0.05 * any(heads)
        x = (width - inner) / 2
        for column, ((_, _, shapes), head) in enumerate(zip(row, heads, strict=True)):
            middle = x + widths[column] / 2
            low, high = extent(shapes)
            placed += moved(head, middle, y + 0.1)
            placed += moved(shapes, middle - (low + high) / 2, y + top)
            x += widths[column] + space
        y += top + max(bottom(shapes) for _, _, shapes in row) + 0.3
    for row in key_rows:
        placed += moved(row, (width - extent(row)[1]) / 2, y)
        y += 0.24
    return Sheet(width, y - 0.12 + margin, tuple(placed))


def _caption(letter, caption):
    """The title's lines, around x = 0."""
    lines = caption.split("\n") if caption else []
    if letter:
        lines[0] = f"({letter}) {lines[0]}"
    return [Label(0, 0.2 * k, line, size=TITLE) for k, line in enumerate(lines)]


def _wrapped(key, width):
    """The legend's pairs of symbol and label, as rows no wider than `width`."""
    rows, start = [[]], 0.0
    for pair in zip(key[::2], key[1::2], strict=True):
        low, high = extent(pair)
        if rows[-1] and high - start > width:
            rows.append([])
        if not rows[-1]:
            start = low
        rows[-1] += moved(pair, -start, 0)
    return rows
