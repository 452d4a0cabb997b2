"""A self-contained HTML page, with its style, tables and images."""

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.5rem }
table { border-collapse: collapse; font-size: 0.9rem } .wide { overflow-x: auto }
th, td { padding: 0.3rem 0.8rem; text-align: left; border-bottom: 1px solid #ddd }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
td.number, td:first-child { white-space: nowrap }
td:not(.number, :first-child, :has(img)) { max-width: 18rem; overflow-wrap: break-word }
img { max-width: 100%; height: auto } .failed { color: #c62828 }
ul.plain { list-style: none; padding: 0 } ul.plain li { margin: 0.4rem 0 }
details { margin: 1rem 0 }
code { background: #f3f3f3; padding: 0.1rem 0.3rem; overflow-wrap: anywhere }
pre { background: #f3f3f3; padding: 0.6rem; white-space: pre-wrap; overflow-wrap: anywhere }
"""


def html_page(title: str, sections: Iterable[str]) -> str:
    """A page from its title and the HTML of its sections.

    Example:
        >>> from keras_preact.evaluation.page import html_page
        >>> html_page("a < b", ["<p>Text.</p>"])[-45:]
        '</style><h1>a &lt; b</h1><p>Text.</p></html>\\n'
    """
    title = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style><h1>{title}</h1>{''.join(sections)}</html>\n"
    )


def html_table(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    words: int = 1,
    failed: Callable[[Sequence[str]], bool] = lambda row: False,
) -> str:
    """A table of texts.

    Args:
        titles: Titles of the columns.
        rows: Lists of cells.
        words: Number of columns with words; the others are numbers, aligned to the right.
        failed: Function that tells whether a row is shown in red.

    Example:
        >>> from keras_preact.evaluation.page import html_table
        >>> html_table(["name"], [["a & b"]])[-46:]
        '</tr><tr><td>a &amp; b</td></tr></table></div>'
    """

    def cells(row, tag):
        marks = ("" if k < words else " class=number" for k in range(len(row)))
        pairs = zip(row, marks, strict=True)
        return "".join(f"<{tag}{mark}>{html.escape(text)}</{tag}>" for text, mark in pairs)

    body = "".join(
        f"<tr{' class=failed' if failed(row) else ''}>{cells(row, 'td')}</tr>" for row in rows
    )
    return f"<div class=wide><table><tr>{cells(titles, 'th')}</tr>{body}</table></div>"


def to_png(figure: "Figure") -> bytes:
    """A `matplotlib.figure.Figure` as the bytes of a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format="png")
    return picture.getvalue()


def png_data(image: "np.ndarray") -> str:
    """A uint8 image `[h, w, 3]` as the data URL of a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def html_picture(headline: str, png: bytes) -> str:
    """A PNG file below a headline, embedded in the page."""
    data, name = base64.b64encode(png).decode(), html.escape(headline)
    return f'<h2>{name}</h2><img alt="{name}" src="data:image/png;base64,{data}">'
