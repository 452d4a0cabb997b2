"""`data_page`: the result of `check_data` as a page with images."""

import html
from typing import TYPE_CHECKING

import numpy as np

from keras_preact.evaluation.page import html_page, html_table, png_data

if TYPE_CHECKING:
    from keras_preact.data import Report

#: Largest number of duplicate pairs that the page shows.
_PAIRS = 50


def data_page(report: "Report") -> str:
    """The contents and the problems of a data set, as a self-contained HTML page.

    Args:
        report: A `keras_preact.data.Report`, as `check_data` returns it.

    Returns:
        The HTML of the page.

    Example:
        >>> from keras_preact.data import check_data
        >>> from keras_preact.evaluation.data_page import data_page
        >>> "1,797" in data_page(check_data("digits"))
        True
    """
    lines = report.summary()
    said = {*report.warnings, *report.problems}
    sections = [
        _list(line for line in lines if line not in said),
        _headed("Problems", report.problems, "failed"),
        _headed("Warnings", report.warnings),
        _classes(report),
        _twins(report),
    ]
    return html_page(f"Images of {report.name}", filter(None, sections))


def _list(lines, kind=""):
    mark = f" class={kind}" if kind else ""
    return f"<ul{mark}>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


def _headed(headline, lines, kind=""):
    return f"<h2>{headline}</h2>{_list(lines, kind)}" if lines else ""


def _classes(report):
    parts = [*report.counts]
    total = sum(map(sum, report.counts.values()))
    rows = []
    for k, row in enumerate(report.rows()):
        counts = [row[part] for part in parts]
        pictures = "".join(_picture(image, row["class"]) for image in report.samples.get(k, ()))
        cells = "".join(f"<td class=number>{count:,}</td>" for count in counts)
        share = f"<td class=number>{sum(counts) / max(total, 1):.1%}</td>"
        name = html.escape(str(row["class"]))
        rows.append(f"<tr><td>{name}</td>{cells}{share}<td>{pictures}</td></tr>")
    titles = ["class", *parts, "share", "examples"]
    head = "".join(
        f"<th{' class=number' if 0 < k <= len(parts) + 1 else ''}>{html.escape(title)}</th>"
        for k, title in enumerate(titles)
    )
    table = f"<div class=wide><table><tr>{head}</tr>{''.join(rows)}</table></div>"
    return f"<h2>{len(report.class_names)} classes, {total:,} images</h2>{table}"


def _picture(image, name):
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    return f'<img width=64 height=64 alt="{html.escape(str(name))}" src="{png_data(image)}"> '


def _twins(report):
    if not report.twins:
        return ""
    rows = [
        [
            "equal" if exact else "nearly equal",
            *(f"{one['image']} ({one['part']}, {one['class']})" for one in (first, second)),
        ]
        for first, second, exact in report.twins[:_PAIRS]
    ]
    more = len(report.twins) - len(rows)
    end = f"<p>and {more:,} more</p>" if more else ""
    return f"<h2>Duplicate images</h2>{html_table(['', '', ''], rows, words=3)}{end}"
