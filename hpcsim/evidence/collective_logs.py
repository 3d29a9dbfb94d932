"""Logs of nccl-tests, rccl-tests and the OSU micro-benchmarks as timed collectives: sniffed, read with every mistake at once.

What a log says of its run is taken from it: ranks and hosts from the list of devices or the launcher's line, the network from the library's
``NCCL INFO NET`` lines. A line ``# hpcsim: KEY=VALUE …`` adds or overrides, with the keys of :data:`KEYS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpcsim.base.errors import Problems, problem_kind

__all__ = ["KEYS", "CollectiveLog", "LoggedTime", "is_collective_log", "read_collective_log"]

NO_FILE = problem_kind("collective-log-missing", "there is no such log", "check the path")
UNREADABLE = problem_kind(
    "collective-log-unreadable", "the log cannot be read: {why}", "it is the text that nccl-tests or an OSU benchmark prints"
)
NOT_A_LOG = problem_kind(
    "collective-log-unknown",
    "this is no output of nccl-tests, rccl-tests or the OSU benchmarks",
    "keep their header lines, which begin with #",
)
BAD_LINE = problem_kind("collective-log-line", "{what}: {value!r}", "{hint_text}")
UNSAID = problem_kind("collective-log-unsaid", "the log does not say {what}", "add a line such as  # hpcsim: {example}")
BAD_KEY = problem_kind("collective-log-key", "{name!r} is no key of a # hpcsim: line", "keys: {known}")
NO_TIMES = problem_kind("collective-log-empty", "the log has no timed sizes", "a line begins with the size in bytes")

KEYS = ("collective", "ranks", "per_node", "domain", "accelerator", "link", "ports", "buffers")
"""What a ``# hpcsim:`` line may say; ``buffers`` is host or device, ``ports`` the network ports of a node, ``domain`` the devices that share
the scale-up link where they are more than a node's."""
_COUNTS = ("ranks", "per_node", "domain", "ports")

_NAMES = {
    "allreduce": "all-reduce", "allgather": "all-gather", "reducescatter": "reduce-scatter", "alltoall": "all-to-all", "broadcast": "broadcast",
    "bcast": "broadcast", "reduce": "reduce", "scatter": "scatter", "gather": "gather", "sendrecv": "send", "barrier": "barrier", "latency": "send",
}  # fmt: skip
_TOOL = re.compile(r"\b(all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|broadcast|sendrecv|scatter|gather|reduce)_perf\b", re.I)
_OSU = re.compile(
    r"#\s*OSU MPI(?P<device>[-_ ]?(?:CUDA|ROCM))?[-_ ]*(?P<name>[A-Za-z][A-Za-z \-]*?)\s+(?:Personalized Exchange )?(?:Latency )?(?:Test|Benchmark)",
    re.I,
)
_OSU_NAMES = {"alltoallpersonalizedexchange": "all-to-all", "alltoall": "all-to-all"}
_PER_PAIR = ("all-gather", "all-to-all", "scatter", "gather")
"""OSU states the block of one rank; the whole buffer is p of them."""
_NETS = (
    ("ofi", "efa"),
    ("efa", "efa"),
    ("cxi", "slingshot"),
    ("fastrak", "tcpxo"),
    ("tcpx", "tcpx"),
    ("roce", "roce"),
    ("ib", "infiniband"),
    ("socket", "tcp"),
)


@dataclass(frozen=True)
class LoggedTime:
    """One line: size in NCCL's meaning [B], seconds, and where it stands."""

    size_bytes: float
    seconds: float
    line: int


@dataclass(frozen=True)
class CollectiveLog:
    """A log.

    Attributes
    ----------
    tool : {"nccl-tests", "osu"}
    collective : str
    ranks, per_node : int
    domain : int
        Devices that share the scale-up link; 0 where it is not said.
    device : str
        As the log names it; empty where it does not.
    network : str
        Kind of the network between nodes, or a catalog link; empty where it is not said.
    ports : int
        Of a node; 0 where it is not said.
    on_devices : bool
    in_place : bool
        Times are of in-place calls because no others are there.
    times : tuple of LoggedTime
    """

    tool: str
    collective: str
    ranks: int
    per_node: int
    domain: int
    device: str
    network: str
    ports: int
    on_devices: bool
    times: tuple[LoggedTime, ...]
    notes: tuple[str, ...] = field(default=())


def is_collective_log(text: str) -> bool:
    """Tell whether a text is output that :func:`read_collective_log` reads."""
    return bool(_OSU.search(text)) or ("algbw" in text and "busbw" in text)


def _said(lines: list[str], file: str, problems: Problems) -> dict[str, str]:
    found: dict[str, str] = {}
    for place, line in enumerate(lines, 1):
        mark = re.match(r"\s*#\s*hpcsim:\s*(.*)", line)
        for word in mark[1].split() if mark else ():
            key, _, value = word.partition("=")
            if key not in KEYS or not value:
                problems.add(BAD_KEY(file=file, line=place, name=word, known=", ".join(KEYS)))
            elif key in _COUNTS and not (value.isdigit() and int(value) > 0):
                problems.add(BAD_LINE(file=file, line=place, what=key, value=value, hint_text="a whole number above zero is needed"))
            else:
                found[key] = value
    return found


def _launch(text: str) -> dict[str, str]:
    """Return what the launcher's line or the list of devices says of ranks, hosts and devices."""
    found: dict[str, str] = {}
    devices = re.findall(r"^#\s+Rank\s+(\d+).*?\bon\s+(\S+)\s+device\s+\S+\s+\[[^\]]*\]\s+(.+?)\s*$", text, re.M)
    if devices:
        hosts = {host for _, host, _ in devices}
        found |= {"ranks": str(len(devices)), "per_node": str(-(-len(devices) // len(hosts))), "accelerator": devices[0][2]}
        return found
    ranks = re.search(r"(?:\s-np?|--ntasks|\s-c)[ =](\d+)", text)
    each = re.search(r"(?:--ntasks-per-node|--npernode|-ppn|\s-N)[ =](\d+)|ppr:(\d+):node", text)
    if ranks:
        found["ranks"] = ranks[1]
    if each:
        found["per_node"] = each[1] or each[2]
    return found


def _network(text: str) -> str:
    net = re.search(r"NCCL INFO (?:NET/|Using network )\s*(.*)", text)
    words = net[1].lower() if net else ""
    if "ib" in words and "roce" in words:
        return "roce"
    return next((kind for word, kind in _NETS if word in words), "")


def _nccl_collective(text: str, rows: list[list[str]], ranks: int) -> str:
    named = _TOOL.search(text)
    if named:
        return _NAMES[named[1].lower().replace("_", "")]
    for row in reversed(rows):
        try:
            algorithm, bus = (float(v) for v in row[-7:-5]) if len(row) >= 12 else (float(row[-3]), float(row[-2]))
        except (ValueError, IndexError):
            continue
        if algorithm > 1.0 and ranks > 1 and abs(bus / algorithm - 2.0 * (ranks - 1) / ranks) < 0.02:
            return "all-reduce"
    return ""


def _times(lines: list[str], file: str, column: int, unit: float, problems: Problems) -> tuple[list[LoggedTime], list[list[str]]]:
    times, rows = [], []
    for place, line in enumerate(lines, 1):
        words = line.split()
        if not words or not words[0].isdigit():
            continue
        rows.append(words)
        try:
            seconds = float(words[column]) * unit
        except (ValueError, IndexError):
            seconds = -1.0
        if not 0 < seconds < 1e6:
            shown = words[column] if -len(words) <= column < len(words) else line.strip()
            problems.add(BAD_LINE(file=file, line=place, what="this is no time", value=shown, hint_text="mend the line, or leave it out"))
        elif int(words[0]) > 0:
            times.append(LoggedTime(float(words[0]), seconds, place))
    return times, rows


def _column(lines: list[str]) -> int:
    """Return where a line of nccl-tests has its out-of-place time: five columns from the left in every version since 2.0."""
    head = next((line.lstrip("# ").split() for line in lines if line.startswith("#") and "algbw" in line), [])
    return head.index("time") if "time" in head else 5


def read_collective_log(path: str | Path, given: Mapping[str, str] | None = None) -> CollectiveLog:
    """Return the timed collectives of a log.

    Parameters
    ----------
    path : path
    given : mapping, optional
        Values of :data:`KEYS` that override what the log says.

    Raises
    ------
    InputError
        No such file, another format, lines without a time, or a run that neither the log nor ``given`` describes: all at once.
    """
    file = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise NO_FILE.error(file=file) from None
    except OSError as error:
        raise UNREADABLE.error(file=file, why=error.strerror or str(error)) from None
    if not is_collective_log(text):
        raise NOT_A_LOG.error(file=file)
    lines = text.splitlines()
    problems = Problems()
    said = {**_launch(text), **_said(lines, file, problems), **{k: v for k, v in (given or {}).items() if v}}
    osu = _OSU.search(text)
    times, rows = _times(lines, file, 1 if osu else _column(lines), 1e-6, problems)
    ranks = int(said.get("ranks", 0))
    if osu:
        words = re.sub(r"[^a-z]", "", osu["name"].lower())
        collective = _OSU_NAMES.get(words, _NAMES.get(words, ""))
    else:
        collective = _nccl_collective(text, rows, ranks)
    collective = said.get("collective", collective)
    if not times:
        problems.add(NO_TIMES(file=file))
    for what, have, example in (
        ("how many ranks took part", ranks, "ranks=16"), ("how many ranks a node has", "per_node" in said, "per_node=8"),
        ("which collective it timed", collective, "collective=all-reduce"),
    ):  # fmt: skip
        if not have:
            problems.add(UNSAID(file=file, what=what, example=example))
    problems.raise_if_any()
    if osu and collective in _PER_PAIR:
        times = [LoggedTime(t.size_bytes * ranks, t.seconds, t.line) for t in times]
    return CollectiveLog(
        tool="osu" if osu else "nccl-tests",
        collective=collective,
        ranks=ranks,
        per_node=min(int(said["per_node"]), ranks),
        domain=int(said.get("domain", 0)),
        device=said.get("accelerator", ""),
        network=said.get("link", "") or _network(text),
        ports=int(said.get("ports", 0)),
        on_devices=not osu or bool(osu["device"]) or said.get("buffers") == "device",
        times=tuple(times),
    )
