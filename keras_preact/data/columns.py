"""Columns of a table file as strings: CSV in the usual variants, Parquet, ...; as a table."""

import csv
import io
from collections.abc import Callable
from typing import NamedTuple

from keras_preact.errors import DataError, reason, some

_FIX = {
    b"PAR1": "It is a Parquet file: parquet:PATH.",
    b"PK\3\4": "It is a workbook or an archive: save it as CSV.",
    b"\x1f\x8b": "Unpack it first.",
}


def read_columns(
    path: str, kind: str, choose: Callable[[list[str]], dict[str, int]]
) -> dict[str, tuple[str, list[str]]]:
    """Reads the chosen columns of a table.

    Args:
        path: The file.
        kind: One of `TABLES`.
        choose: Function from the column names to the wanted positions, by use.

    Returns:
        For each use the column's name and its strings, blank where a value is missing.

    Raises:
        DataError: For a file that is missing, of another kind, or damaged.
    """
    try:
        names, texts = TABLES[kind].read(path)
        return {use: (names[k], texts(k)) for use, k in choose(names).items()}
    except (DataError, ModuleNotFoundError):  # of PyArrow
        raise
    except OSError as error:
        about = error.strerror or reason(error)
        raise DataError(
            f"Expected a file with a table ({kind}). Received: {path!r}: {about}."
        ) from None
    except Exception as error:  # PyArrow raises many types for damaged files
        raise DataError(
            f"Expected a table as {TABLES[kind].title}. "
            f"Received: {path!r}, which is not one or is damaged: {reason(error)}"
        ) from None


def _csv(path: str):
    """UTF-8, or UTF-16 with its mark; separated by the mark that the first line has most of."""
    with open(path, "rb") as file:
        data = file.read()
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and b"\0" in data[:4096]:
        fix = next((words for start, words in _FIX.items() if data.startswith(start)), "")
        raise ValueError(f"it is not text. {fix}".rstrip())
    # What is no UTF-8 may be the name of a file; names of classes are looked at later.
    text = data.decode("utf-16" if wide else "utf-8-sig", "strict" if wide else "surrogateescape")
    first = text.lstrip().partition("\n")[0]
    mark = max(",;\t|", key=first.count)
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=mark != "\t", strict=True
    )
    rows = []
    for row in lines:
        if not any(row):  # as programs of tables leave at the end
            continue
        width = len(rows[0]) if rows else len(row)
        if any(row[width:]):
            raise ValueError(
                f"line {lines.line_num} has {len(row)} cells, the first line {width}: quote cells "
                f"that contain {mark!r}."
            )
        rows.append(row + [""] * (width - len(row)))
    if not rows:
        raise ValueError("it is empty.")
    return [name.strip() for name in rows[0]], lambda k: [row[k] for row in rows[1:]]


def _parquet(path: str):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open(path, "rb"):  # says what is no file better
        pass
    schema = pq.read_schema(path)

    def texts(k: int) -> list[str]:
        name, kind = schema.names[k], schema.types[k]
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind):
            raise DataError(
                f"A column must hold one string or number per row. Received: {name!r} "
                f"of {path!r}, of type {str(kind)[:80]}. Lists of labels are not supported, nor "
                "images in place of their paths."
            )
        if schema.names.count(name) > 1:
            raise DataError(f"Column names must be unique. Received: {some([name])} in {path!r}.")
        values = pq.read_table(path, columns=[name], partitioning=None).column(0).to_pylist()
        return ["" if value is None else str(value) for value in values]

    return schema.names, texts


class TableFormat(NamedTuple):
    """A format of tables.

    Attributes:
        title: What it is called.
        read: Function of a path to the names of the columns, and to a function of the place of one
            to its texts, which are blank for what is missing. What is wrong is a `ValueError`.
        endings: Those of its files.
    """

    title: str
    read: Callable[[str], tuple[list[str], Callable[[int], list[str]]]]
    endings: tuple[str, ...]


#: By what stands ahead of a path, as in `csv:PATH`.
TABLES = {
    "csv": TableFormat("CSV", _csv, ("csv", "tsv")),
    "parquet": TableFormat("Parquet", _parquet, ("parquet", "pq")),
}
