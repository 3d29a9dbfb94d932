"""A log's file as text and as a table of words: unpacked, decoded, split, with what was wrong on the way."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.workload.jobs import Finding, Integers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COMPRESSED", "Words", "decoded", "opening", "table", "unpacked"]

NO_TRACE = problem_kind("trace-missing", "there is no such file", "check the path of the job log")
TRACE_IS_FOLDER = problem_kind("trace-is-a-folder", "this is a folder, a job log is needed", "name the file inside it")
TRACE_UNREADABLE = problem_kind("trace-unreadable", "the job log cannot be read: {why}", "check its permissions, and that it is whole")
TRACE_BINARY = problem_kind(
    "trace-binary", "this is a binary file, not a job log", "plain text is needed, or text packed with gzip, bzip2, xz or zstd"
)
NO_ZSTD = problem_kind(
    "trace-no-zstd",
    "the job log is packed with zstd, which needs the package zstandard",
    "install hpcsim with its extra zstd, or unpack it",
)
NOT_A_TABLE = problem_kind("trace-no-table", "line 1 is no heading of {what}: {heading!r}", "{hint}")
TRACE_NO_ROWS = problem_kind("trace-no-rows", "the job log has a heading and no rows", "see that the export took the right dates")

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""What a compression adds to a file's name."""

_DELIMITERS = ("|", ",", "\t", ";")
_OPENING = 1 << 16


def _zstd(raw: bytes, name: str) -> bytes:
    try:
        import zstandard
    except ImportError:
        raise NO_ZSTD.error(file=name) from None
    try:
        with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
            return bytes(stream.read())
    except zstandard.ZstdError as error:
        raise TRACE_UNREADABLE.error(file=name, why=str(error)) from None


def unpacked(path: str | Path) -> bytes:
    """Return the unpacked content of a file; what packs it is told from its first bytes.

    Raises
    ------
    InputError
        It is missing, a folder, cannot be read, or is cut off in the middle of its compression.
    """
    name = str(path)
    try:
        raw = Path(path).read_bytes()
        if raw[:2] == b"\x1f\x8b":
            return gzip.decompress(raw)
        if raw[:3] == b"BZh":
            return bz2.decompress(raw)
        if raw[:6] == b"\xfd7zXZ\x00":
            return lzma.decompress(raw)
        if raw[:4] == b"\x28\xb5\x2f\xfd":
            return _zstd(raw, name)
    except FileNotFoundError:
        raise NO_TRACE.error(file=name) from None
    except IsADirectoryError:
        raise TRACE_IS_FOLDER.error(file=name) from None
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise TRACE_UNREADABLE.error(file=name, why=str(error) or type(error).__name__) from None
    return raw


def opening(path: str | Path) -> str:
    """Return the first lines of a file for telling its format, "" where it cannot be read: who reads it says why."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_OPENING)
        if raw[:2] == b"\x1f\x8b":
            raw = zlib.decompressobj(31).decompress(raw, _OPENING)
        elif raw[:3] == b"BZh":
            raw = bz2.BZ2Decompressor().decompress(raw, _OPENING)
        elif raw[:6] == b"\xfd7zXZ\x00":
            raw = lzma.LZMADecompressor().decompress(raw, _OPENING)
        elif raw[:4] == b"\x28\xb5\x2f\xfd":
            raw = unpacked(path)[:_OPENING]
        return decoded(raw, "")[0]
    except Exception:  # whatever is wrong with the file, the reader that is then chosen reports it with its place
        return ""


def decoded(data: bytes, name: str) -> tuple[str, list[Finding]]:
    """Return text and, where it was not UTF-8, a finding that says what it was taken for.

    Raises
    ------
    InputError
        The bytes are no text.
    """
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                break
            finding = [] if encoding == "utf-8-sig" else [Finding("file in UTF-16", 1, "kept", "byte 1")]
            return text, finding
    if b"\0" in data[:_OPENING]:
        raise TRACE_BINARY.error(file=name)
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError as error:
        strange = [at for at, line in enumerate(data.split(b"\n"), start=1) if not line.isascii() and not _is_utf8(line)]
        first = strange[0] if strange else data.count(b"\n", 0, error.start) + 1
        return data.decode("latin-1"), [Finding("not in UTF-8: read as Latin-1", max(len(strange), 1), "kept", f"line {first}")]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True, eq=False, slots=True)
class Words:
    """A table of text.

    Attributes
    ----------
    frame : DataFrame
        Text columns by name; what is not there is "".
    lines : int64 array, shape (rows,)
        Line of the file of each row, from 1.
    findings : list of Finding
        Rows that were dropped or mended.
    rows : int
        Rows of the file, good or bad.
    """

    frame: pd.DataFrame
    lines: Integers
    findings: list[Finding]
    rows: int

    def column(self, *names: str) -> Any:
        """Return the first of these columns that there is, as an object array of words; else "" for every row."""
        for name in names:
            if name in self.frame.columns:
                return self.frame[name].to_numpy(dtype=object)
        return np.full(len(self.frame), "", dtype=object)

    def has(self, name: str) -> bool:
        """Return whether the table has a column."""
        return name in self.frame.columns


def _heading(line: str, delimiter: str, quoted: bool) -> list[str]:
    cells = next(csv.reader([line], delimiter=delimiter)) if quoted else line.split(delimiter)
    names = [cell.strip() for cell in cells]
    return names[:-1] if len(names) > 1 and not names[-1] else names


def table(
    text: str,
    *,
    name: str,
    what: str,
    known: Iterable[str],
    needed: int = 1,
    hint: str,
    delimiter: str | None = None,
    quoted: bool = True,
    free: Sequence[str] = (),
    sound: Any = None,
) -> Words:
    """Split text with a heading into a table of words.

    Parameters
    ----------
    text : str
        The file; its first line is the heading.
    name : str
        The file's name, for messages.
    what : str
        What the heading should be one of, for messages.
    known : iterable of str
        Names of columns that tell the delimiter: the one that gives most of them is taken.
    needed : int
        How many of them there must be.
    hint : str
        The remedy where they are not.
    delimiter : str, optional
        Given, nothing is guessed.
    quoted : bool
        Whether quotation marks hold fields together.
    free : sequence of str
        Columns of free text, in which a delimiter may stand unquoted.
    sound : callable, optional
        Takes a row of cells and says whether each is where it belongs; with ``free``, rows with too many cells are mended so that they are.

    Raises
    ------
    InputError
        No delimiter gives the columns, or there is no row.
    """
    first, _, body = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").partition("\n")
    wanted = set(known)
    found = {mark: len(wanted & set(_heading(first, mark, quoted))) for mark in ((delimiter,) if delimiter else _DELIMITERS)}
    mark = max(found, key=lambda m: found[m])
    if found[mark] < needed:
        raise NOT_A_TABLE.error(file=name, what=what, heading=first, hint=hint)
    heading = _heading(first, mark, quoted)
    words = _fast(body, heading, mark, quoted)
    if words is None:
        words = _sifted(body, heading, mark, quoted, [heading.index(column) for column in free if column in heading], sound)
    if not words.rows:
        raise TRACE_NO_ROWS.error(file=name)
    return words


def _fast(body: str, heading: list[str], delimiter: str, quoted: bool) -> Words | None:
    """Return the table where every row has the heading's cells (a last empty one aside), else None."""
    import pandas as pd

    trailing = body.split("\n", 1)[0].count(delimiter) == len(heading)
    names = [*heading, ""] if trailing else heading
    kept = [(at, line.count(delimiter)) for at, line in enumerate(body.split("\n"), start=2) if line.strip()]
    if any(count != len(names) - 1 for _, count in kept):  # a short or long row, or a delimiter inside quotes
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(body),
                sep=delimiter,
                header=None,
                names=[*range(len(names))],
                index_col=False,
                dtype=str,
                keep_default_na=False,
                na_filter=True,
                na_values=[],
                quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
                skip_blank_lines=True,
                on_bad_lines="error",
            )
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning):
        return None
    if len(kept) != len(frame):  # a line break inside quotes
        return None
    if trailing:
        frame = frame.iloc[:, :-1]
    frame.columns = pd.Index(heading)
    return Words(frame.loc[:, ~frame.columns.duplicated()].fillna(""), np.array([at for at, _ in kept], dtype=np.int64), [], len(frame))


def _cells(body: str, delimiter: str, quoted: bool) -> Iterable[tuple[int, list[str]]]:
    """Return each row's line, from 2, and its cells; a row that breaks the rules of quotation is one cell."""
    if not quoted:
        yield from ((at, line.split(delimiter)) for at, line in enumerate(body.split("\n"), start=2))
        return
    source = csv.reader(io.StringIO(body), delimiter=delimiter)
    while True:
        at = source.line_num + 2
        try:
            yield at, next(source)
        except StopIteration:
            return
        except csv.Error:
            yield at, ["a row that is none"]


def _sifted(body: str, heading: list[str], delimiter: str, quoted: bool, free: list[int], sound: Any) -> Words:
    """Return the table of a damaged file: rows of another length are mended where that is certain, else dropped and counted."""
    import pandas as pd

    good: list[list[str]] = []
    lines: list[int] = []
    short: list[int] = []
    long: list[int] = []
    mended: list[int] = []
    last = 0
    for at, cells in _cells(body, delimiter, quoted):
        if not any(cell.strip() for cell in cells):
            continue
        last = at
        if len(cells) == len(heading) + 1 and not cells[-1]:
            cells = cells[:-1]
        if len(cells) > len(heading) and free and sound is not None:
            whole = _mended(cells, len(heading), free, sound)
            if whole is not None:
                cells = whole
                mended.append(at)
        if len(cells) != len(heading):
            (short if len(cells) < len(heading) else long).append(at)
            continue
        good.append(cells)
        lines.append(at)
    findings = []
    cut = bool(short) and short[-1] == last and not body.endswith("\n")
    if cut:
        findings.append(Finding("last row cut off: the file is not whole", 1, "dropped", f"line {short.pop()}"))
    for rows, issue, action in (
        (short, "row with too few fields", "dropped"),
        (long, "row with too many fields", "dropped"),
        (mended, "delimiter inside a text field: put together again", "repaired"),
    ):
        if rows:
            findings.append(Finding(issue, len(rows), action, f"line {rows[0]}"))  # type: ignore[arg-type]
    frame = pd.DataFrame(good, columns=heading, dtype=str) if good else pd.DataFrame({column: [] for column in heading}, dtype=str)
    frame = frame.loc[:, ~frame.columns.duplicated()]
    return Words(frame, np.array(lines, dtype=np.int64), findings, len(good) + len(short) + len(long) + cut)


_MOST_SURPLUS = 12


def _mended(cells: list[str], width: int, free: list[int], sound: Any) -> list[str] | None:
    """Join surplus cells inside the columns of free text so that every other cell is where it belongs; None where no way is sound."""
    surplus = len(cells) - width
    if surplus > _MOST_SURPLUS:
        return None

    def ways(left: int, columns: list[int]) -> Iterable[dict[int, int]]:
        if not columns:
            if left == 0:
                yield {}
            return
        for here in range(left, -1, -1):
            for rest in ways(left - here, columns[1:]):
                yield {columns[0]: here, **rest}

    for way in ways(surplus, free):
        joined: list[str] = []
        at = 0
        for column in range(width):
            more = way.get(column, 0)
            joined.append("|".join(cells[at : at + 1 + more]))
            at += 1 + more
        if sound(joined):
            return joined
    return None
