"""What commands print and write: the summary, JSON, files, progress."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcsim.base.errors import problem_kind

if TYPE_CHECKING:
    from hpcsim.results.record import Results

__all__ = ["prepare_folder", "print_results", "progress_bar", "write_results"]

NO_FOLDER = problem_kind("no-folder-name", "{folder!r} names no folder", "leave --out away, or name the folder of the report")


def prepare_folder(folder: str) -> None:
    """Make sure that ``folder`` can be written before anything long is begun; leave no trace of the trial.

    Raises
    ------
    InputError
        It cannot.
    """
    from hpcsim.results.store import write_whole

    if not folder.strip() or "\0" in folder:
        raise NO_FOLDER.error(folder=folder)
    path = Path(folder)
    absent = [parent for parent in (path, *path.parents) if not parent.exists()]
    for trial in write_whole(path, {".hpcsim-trial": b""}):
        trial.unlink()
    with contextlib.suppress(OSError):
        for parent in absent:
            parent.rmdir()


def write_results(results: Results, folder: str, *, charts: bool = True, png: bool = False, parquet: bool = False) -> list[Path]:
    """Write summary, tables, charts and report; how long hpcsim took is left out, so that equal runs write equal bytes."""
    from hpcsim.report.write import write_report

    return write_report(results, folder, charts=charts, png=png, parquet=parquet, timings=False)


def print_results(
    results: Results, args: argparse.Namespace, *, folder: str = "", files: int = 0, extra: dict[str, Any] | None = None
) -> None:
    """Print the summary as a table or as JSON, and where the files are."""
    if args.format == "json":
        document = {**results.document(), **(extra or {})}
        for name in ("energy", "costs", "training", "breakdown", "memory", "comparison", "quality"):
            if name in results.tables:
                document[name] = _records(results.tables[name])
        for name in ("sweep", "sweep_ranges", "intervals", "uncertain", "tornado", "sobol", "uncertainty", "drivers"):
            if name in results.tables:
                document[name] = _records(results.tables[name])
        if folder:
            document["folder"] = folder
        print(json.dumps(document, indent=2, ensure_ascii=False))
    elif not args.quiet:
        from hpcsim.report.terminal import as_text

        print(as_text(results, width=min(shutil.get_terminal_size().columns, 120), folder=folder if files else ""))
        if folder and files:
            print(f"\n{files} files in {folder}; open {Path(folder) / 'report.html'}")


def _records(table: Any) -> list[dict[str, Any]]:
    from hpcsim.results.record import plain

    return [{str(k): plain(v) for k, v in row.items()} for row in table.to_dict("records")]


def progress_bar(args: argparse.Namespace) -> Callable[[int, int], None] | None:
    """Return what draws progress on a terminal once work has taken two seconds; None where nobody looks."""
    if args.quiet or not sys.stderr.isatty():
        return None
    began = time.monotonic()
    drawn = began + 2.0

    def show(done: int, total: int) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now < drawn and not (done == total and drawn > began + 2.0):
            return
        drawn = now + 0.1
        width = 30 * done // total
        left = (now - began) / done * (total - done)
        sys.stderr.write(f"\r[{'#' * width}{'.' * (30 - width)}] {done:,} of {total:,}, {_span(left)} left   ")
        if done == total:
            sys.stderr.write("\r" + " " * 78 + "\r")
        sys.stderr.flush()

    return show


def _span(seconds: float) -> str:
    """Return a span of time in its two largest units.

    >>> _span(3725)
    '1 h 2 min'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
