"""Where batch jobs come from: the trace, and the registry of trace readers. The table of jobs, whose home is job_table, can be had here too."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from hpcsim.base.errors import problem_kind
from hpcsim.base.registry import Registry
from hpcsim.workload.job_table import Bools, Floats, Integers, JobTable, dependency_circles

__all__ = [
    "NOT_HELD",
    "Bools",
    "Finding",
    "Floats",
    "Integers",
    "JobTable",
    "Trace",
    "TraceOptions",
    "TraceReader",
    "dependency_circles",
    "format_of",
    "known_readers",
    "read_trace",
    "trace_readers",
]

NO_FORMAT = problem_kind("trace-format-unknown", "no trace reader is known for {file!r}", "name the format; known: {known}")
BAD_OPTION = problem_kind("trace-option", "{name} is {value!r}; it must be {bound}", "")


NOT_HELD = ("asks for no accelerator", "more processors than the machine has", "more than these nodes can give")
"""How the issues of sound jobs begin that are dropped as the machine is no place for them."""


class Finding(NamedTuple):
    """One kind of flaw in a trace and what the reader did about it.

    ``action`` is ``dropped``, ``cut``, ``repaired`` or ``kept``; ``example`` names the first such row.
    """

    issue: str
    rows: int
    action: Literal["dropped", "cut", "repaired", "kept"]
    example: str


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """How a trace is read.

    Attributes
    ----------
    processors : {"allocated", "requested"}
        Which count a job takes; the other one stands in where it is not given.
    estimates : {"requested", "actual"}
        What the scheduler is told: the requested time (the run time where there is none), or the run time.
    cut : bool
        Cut a job that ran past its request; without it the job runs on and its run time is the estimate.
    max_jobs : int or None
        Stop after so many usable jobs, in file order.
    capacity : int or None
        Processors of the machine: larger jobs are dropped.
    multiple : int
        Sizes are rounded up to a multiple of it: the cores of a node where jobs take whole nodes.
    unit : {"processor", "gpu", "node"}
        What a job's size counts, where the log has more than one of them; with ``gpu``, jobs without accelerators are dropped.
    zone : str
        Time zone of dates that state none.
    columns : mapping of str to str, optional
        For tables: which column holds what, see :mod:`hpcsim.workload.readers.columns`.
    dependencies : bool, optional
        Whether jobs wait for those that the log says; without it, they do except in SWF.
    """

    processors: Literal["allocated", "requested"] = "allocated"
    estimates: Literal["requested", "actual"] = "requested"
    cut: bool = False
    max_jobs: int | None = None
    capacity: int | None = None
    multiple: int = 1
    unit: Literal["processor", "gpu", "node"] = "processor"
    zone: str = "UTC"
    columns: Mapping[str, str] | None = None
    dependencies: bool | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("processors", ("allocated", "requested")),
            ("estimates", ("requested", "actual")),
            ("unit", ("processor", "gpu", "node")),
        ):
            if getattr(self, name) not in known:
                raise BAD_OPTION.error(path=name, name=name, value=getattr(self, name), bound=" or ".join(known))
        for name in ("max_jobs", "capacity", "multiple"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise BAD_OPTION.error(path=name, name=name, value=value, bound="a whole number, at least 1")


@dataclass(frozen=True, eq=False, slots=True)
class Trace:
    """What a trace reader returns: the jobs in file order, what was wrong with the rest, and the file's own header."""

    jobs: JobTable
    quality: tuple[Finding, ...] = ()
    header: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    rows: int = 0
    """Rows of the file that are data, good or bad."""
    zero_s: float | None = None
    """Second of the epoch (UTC) at which the trace's time is 0, for logs with dates."""
    zone: str = "UTC"
    """Time zone in which its dates are shown."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """For tables without a layout of their own: which column was read as what, by key of the map of columns."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Columns of such a table that were not read: for each the part of a map that would name it, "" where a map was given."""


class TraceReader(Protocol):
    """Reads one format of job log.

    A bad row never stops it: the row is dropped and counted. A file that cannot be read at all is an ``InputError``. A reader may also
    have ``sniff(opening: str) -> bool``, which says from the first lines of a file, unpacked and decoded, whether it is of the format.
    """

    @property
    def suffixes(self) -> tuple[str, ...]:
        """File name endings of the format, without what a compression adds (``(".swf",)``)."""

    def read(self, path: str | Path, options: TraceOptions) -> Trace:
        """Return the jobs of a log."""


trace_readers: Registry[TraceReader] = Registry("trace reader", "trace_readers")

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


_BUILT_IN = (
    "hpcsim.workload.swf",
    "hpcsim.workload.readers.slurm",
    "hpcsim.workload.readers.sbatch",
    "hpcsim.workload.readers.columns",
    "hpcsim.workload.readers.kubernetes",
)
"""Modules that register trace readers; they build on this one, so they are imported when a trace is read."""


def known_readers() -> Registry[TraceReader]:
    """Return the trace readers, the built-in ones registered."""
    for module in _BUILT_IN:
        importlib.import_module(module)
    return trace_readers


def format_of(path: str | Path) -> str:
    """Return the name of the trace reader for a file: by the ending of its name, else by how its content begins; ``csv`` for a .csv of usual headings.

    Raises
    ------
    InputError
        No reader claims it, or a .csv lacks headings that are understood.

    Examples
    --------
    >>> format_of("KTH-SP2-1996.swf.gz")
    'swf'
    """
    name = Path(path).name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    readers = known_readers()
    for known in readers.names():
        if any(name.endswith(suffix) for suffix in readers.get(known).suffixes):
            return known
    if Path(path).is_file():
        from hpcsim.workload.readers.text import opening

        text = opening(path)
        for known in readers.names():
            sniff = getattr(readers.get(known), "sniff", None)
            if text and sniff is not None and sniff(text):
                return known
        if text and name.endswith((".csv", ".tsv")):
            from hpcsim.workload.readers.columns import check_headings

            check_headings(text, str(path))
            return "csv"
    raise NO_FORMAT.error(file=str(path), known=", ".join(readers.names()))


def read_trace(path: str | Path, *, format: str | None = None, options: TraceOptions | None = None) -> Trace:
    """Read a job log.

    Parameters
    ----------
    path : path
        The log, plain or compressed (.gz, .bz2, .xz, .zst).
    format : str, optional
        Name of a trace reader; found from the file's name or content without it. A map of columns makes it ``csv``.
    options : TraceOptions, optional
        How to read it.

    Raises
    ------
    InputError
        Unknown format, or a file that cannot be read as one.
    """
    options = options or TraceOptions()
    if options.zone != "UTC":
        from hpcsim.workload.readers.moments import check_zone

        check_zone(options.zone)
    chosen = format or ("csv" if options.columns else None)
    known = chosen or (format_of(path) if Path(path).is_file() else "swf")  # what is no file is refused by any reader
    return known_readers().get(known).read(path, options)
