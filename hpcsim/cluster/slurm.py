"""A machine as Slurm describes it: host lists, ``slurm.conf``, ``topology.conf`` and ``sinfo``, as the cluster section of a scenario.

Reference: SchedMD, manual pages of slurm.conf, topology.conf, sinfo and scontrol (host list expressions).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcsim.base.errors import problem_kind

__all__ = [
    "SlurmMachine",
    "SlurmNode",
    "SlurmPartition",
    "cluster_section",
    "expand_hosts",
    "fold_hosts",
    "read_sinfo",
    "read_slurm_conf",
    "read_topology",
]

BAD_HOSTS = problem_kind("slurm-hostlist", "{text!r} is no host list: {why}", "such as node[001-128,200]")
BAD_CONF = problem_kind("slurm-conf", "this line is not of the form KEY=VALUE …: {text!r}", "check the file")
NO_NODES = problem_kind(
    "slurm-no-nodes", "no node is defined here", "a slurm.conf with NodeName lines (follow its Include), or the output of sinfo"
)
SWITCH_CIRCLE = problem_kind("slurm-topology", "the switch {switch!r} {why}", "check topology.conf")
BAD_SINFO = problem_kind("slurm-sinfo", "line 1 is no heading of sinfo: {heading!r}", "give sinfo -N -l, or sinfo -o with a heading")

_MOST_HOSTS = 1_000_000


def _pieces(text: str) -> list[str]:
    """Split a host list at the commas outside brackets."""
    parts, depth, begin = [], 0, 0
    for at, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if depth not in (0, 1):
            raise BAD_HOSTS.error(text=text, why="brackets do not match")
        if char == "," and depth == 0:
            parts.append(text[begin:at])
            begin = at + 1
    if depth:
        raise BAD_HOSTS.error(text=text, why="a bracket is not closed")
    return [part.strip() for part in [*parts, text[begin:]] if part.strip()]


def _range(text: str, whole: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if not match:
            raise BAD_HOSTS.error(text=whole, why=f"{part.strip()!r} is no number or range")
        low, high = int(match[1]), int(match[2] or match[1])
        if high < low or high - low >= _MOST_HOSTS:
            raise BAD_HOSTS.error(text=whole, why=f"the range {part.strip()} is empty or too long")
        found += [f"{number:0{len(match[1])}d}" for number in range(low, high + 1)]
    return found


def expand_hosts(text: str) -> list[str]:
    """Return the hosts of a Slurm host list, in order.

    Raises
    ------
    InputError
        Brackets that do not match, or what is no range.

    Examples
    --------
    >>> expand_hosts("cpn-v09-[08-10],gpu[1,3],login")
    ['cpn-v09-08', 'cpn-v09-09', 'cpn-v09-10', 'gpu1', 'gpu3', 'login']
    >>> len(expand_hosts("r[1-2]n[01-18]"))
    36
    """
    hosts: list[str] = []
    for piece in _pieces(text):
        words = re.split(r"\[([^\]]*)\]", piece)
        choices = [_range(word, text) if at % 2 else [word] for at, word in enumerate(words)]
        hosts += ["".join(parts) for parts in itertools.product(*choices)]
        if len(hosts) > _MOST_HOSTS:
            raise BAD_HOSTS.error(text=text, why=f"more than {_MOST_HOSTS:,} hosts")
    return hosts


def fold_hosts(hosts: Iterable[str]) -> str:
    """Return hosts as a host list; neighbours with the same prefix and width become ranges.

    >>> fold_hosts(["n08", "n09", "n10", "gpu1", "n12"])
    'n[08-10,12],gpu1'
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for host in hosts:
        match = re.fullmatch(r"(.*?)(\d+)", host)
        key, number = ((match[1], len(match[2])), int(match[2])) if match else ((host, 0), 0)
        groups.setdefault(key, []).append(number)
    texts = []
    for (prefix, width), numbers in groups.items():
        if not width:
            texts.append(prefix)
            continue
        runs: list[list[int]] = []
        for number in sorted(set(numbers)):
            if runs and number == runs[-1][1] + 1:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        parts = [f"{low:0{width}d}" + (f"-{high:0{width}d}" if high > low else "") for low, high in runs]
        texts.append(f"{prefix}[{','.join(parts)}]" if len(parts) > 1 or "-" in parts[0] else f"{prefix}{parts[0]}")
    return ",".join(texts)


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """What one node has: cores (hardware threads where ``CPUs`` counts these), memory in MiB, GPUs by type, features, state."""

    name: str
    cpus: int
    memory_mib: int = 0
    gpus: tuple[tuple[str, int], ...] = ()
    features: tuple[str, ...] = ()
    weight: int = 1
    state: str = "UNKNOWN"

    @property
    def hardware(self) -> tuple[Any, ...]:
        """What makes two nodes alike."""
        return self.cpus, self.memory_mib, self.gpus, self.features


@dataclass(frozen=True, slots=True)
class SlurmPartition:
    """A partition: its nodes, limits and how it shares them."""

    name: str
    nodes: tuple[str, ...]
    max_time: str = "UNLIMITED"
    default: bool = False
    exclusive: bool = False
    priority_tier: int = 1


@dataclass(frozen=True)
class SlurmMachine:
    """All that was read: nodes by name, partitions, switches (leaf first: nodes, then switches below), and what was passed over."""

    nodes: Mapping[str, SlurmNode]
    partitions: tuple[SlurmPartition, ...] = ()
    switches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _lines(text: str) -> Iterable[tuple[int, dict[str, str]]]:
    """Return the line number and the KEY=VALUE pairs of every line, comments and continuations dealt with; keys in lower case."""
    held, begun = "", 0
    for at, raw in enumerate(text.splitlines(), start=1):
        line = re.sub(r"(?<!\\)#.*", "", raw).strip()
        begun = begun or at
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        whole, first, held, begun = (held + line).strip(), begun, "", 0
        if not whole or whole.lower().startswith("include "):
            continue
        pairs = re.findall(r"(\w[\w.]*)\s*=\s*(\"[^\"]*\"|[^\s]+)", whole)
        if not pairs:
            raise BAD_CONF.error(path=f"line {first}", text=whole)
        yield first, {key.lower(): value.strip('"') for key, value in pairs}


def _gpus(text: str) -> tuple[tuple[str, int], ...]:
    """Return GPUs by type of a ``Gres`` value: ``gpu:a100:4,nvme:1`` or ``gpu:2(S:0-1)``."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        words = part.strip().split(":")
        if words[0] == "gpu":
            count = int(words[-1]) if words[-1].isdigit() else 1
            kind = words[1] if len(words) > 2 or (len(words) == 2 and not words[1].isdigit()) else ""
            found[kind] = found.get(kind, 0) + count
    return tuple(sorted(found.items()))


def _number(values: Mapping[str, str], key: str, missing: int) -> int:
    text = values.get(key, "")
    return int(text) if text.isdigit() else missing


def _nodes(values: Mapping[str, str]) -> Iterable[SlurmNode]:
    cores = _number(values, "boards", 1) * _number(values, "sockets", _number(values, "socketsperboard", 1))
    cores *= _number(values, "corespersocket", 1) * _number(values, "threadspercore", 1)
    features = tuple(word for word in values.get("feature", values.get("features", "")).split(",") if word)
    for name in expand_hosts(values["nodename"]):
        yield SlurmNode(
            name,
            _number(values, "cpus", _number(values, "procs", cores)),
            _number(values, "realmemory", 0),
            _gpus(values.get("gres", "")),
            features,
            _number(values, "weight", 1),
            values.get("state", "UNKNOWN").upper(),
        )


def _inherited(values: dict[str, str], defaults: dict[str, dict[str, str]], kind: str) -> dict[str, str] | None:
    """Keep a DEFAULT line for those that follow it; else return the line with what it leaves out filled in."""
    if values[kind].upper() == "DEFAULT":
        defaults[kind] = {**defaults.get(kind, {}), **{key: value for key, value in values.items() if key != kind}}
        return None
    return {**defaults.get(kind, {}), **values}


def read_slurm_conf(text: str, topology: str = "") -> SlurmMachine:
    """Return the machine of a ``slurm.conf`` (and of a ``topology.conf``).

    ``DEFAULT`` lines, host lists, node sets, ``Nodes=ALL``, continued lines and comments are understood; ``Include`` is not followed, and noted.

    Raises
    ------
    InputError
        A line that is none, a host list that is none, or no node.

    Examples
    --------
    >>> machine = read_slurm_conf("NodeName=n[1-4] CPUs=32 RealMemory=192000 Gres=gpu:a100:4\\nPartitionName=gpu Nodes=ALL Default=YES")
    >>> len(machine.nodes), machine.nodes["n1"].gpus, machine.partitions[0].nodes[-1]
    (4, (('a100', 4),), 'n4')
    """
    nodes: dict[str, SlurmNode] = {}
    sets: dict[str, list[str]] = {}
    wanted: list[dict[str, str]] = []
    defaults: dict[str, dict[str, str]] = {}
    notes = [f"{line.strip()} was not followed" for line in text.splitlines() if line.strip().lower().startswith("include ")]
    for _, values in _lines(text):
        if "nodename" in values and (whole := _inherited(values, defaults, "nodename")) is not None:
            nodes |= {node.name: node for node in _nodes(whole)}
        elif "partitionname" in values and (whole := _inherited(values, defaults, "partitionname")) is not None:
            wanted.append(whole)
        elif "nodeset" in values:
            named = expand_hosts(values.get("nodes", ""))
            feature = values.get("feature", "")
            sets[values["nodeset"]] = named + [node.name for node in nodes.values() if feature and feature in node.features]
    if not nodes:
        raise NO_NODES.error()
    partitions = tuple(_partition(values, nodes, sets, notes) for values in wanted)
    return SlurmMachine(nodes, partitions, read_topology(topology) if topology else {}, tuple(notes))


def _partition(
    values: Mapping[str, str], nodes: Mapping[str, SlurmNode], sets: Mapping[str, list[str]], notes: list[str]
) -> SlurmPartition:
    listed: list[str] = []
    for piece in _pieces(values.get("nodes", "")):
        listed += list(nodes) if piece.upper() == "ALL" else sets[piece] if piece in sets else expand_hosts(piece)
    known = [name for name in dict.fromkeys(listed) if name in nodes]
    if len(known) < len(set(listed)):
        notes.append(f"{len(set(listed)) - len(known)} nodes of partition {values['partitionname']} are not defined")
    share = values.get("oversubscribe", values.get("shared", "")).upper()
    return SlurmPartition(
        values["partitionname"],
        tuple(known),
        values.get("maxtime", "UNLIMITED"),
        values.get("default", "NO").upper() == "YES",
        share.startswith("EXCLUSIVE"),
        _number(values, "prioritytier", 1),
    )


def read_topology(text: str) -> dict[str, tuple[str, ...]]:
    """Return what hangs on each switch of a ``topology.conf``: nodes, or switches.

    Raises
    ------
    InputError
        A switch below itself, or one that has nothing.

    Examples
    --------
    >>> read_topology("SwitchName=leaf[1-2] Nodes=n[1-2]\\nSwitchName=top Switches=leaf[1-2]")["top"]
    ('leaf1', 'leaf2')
    """
    below: dict[str, tuple[str, ...]] = {}
    for _, values in _lines(text):
        if "switchname" not in values:
            continue
        for name in expand_hosts(values["switchname"]):
            below[name] = tuple(expand_hosts(values.get("nodes", "")) or expand_hosts(values.get("switches", "")))
            if not below[name]:
                raise SWITCH_CIRCLE.error(switch=name, why="has neither nodes nor switches")
    for name in below:
        seen, todo = set(), [name]
        while todo:
            for under in below.get(todo.pop(), ()):
                if under == name:
                    raise SWITCH_CIRCLE.error(switch=name, why="is below itself")
                if under in below and under not in seen:
                    seen.add(under)
                    todo.append(under)
    return below


_SINFO = {
    "NODELIST": "nodes", "NODE_NAME": "nodes", "HOSTNAMES": "nodes", "PARTITION": "partition", "CPUS": "cpus", "MEMORY": "memory",
    "GRES": "gres", "STATE": "state", "AVAIL_FE": "features", "AVAIL_FEATURES": "features", "TIMELIMIT": "time", "WEIGHT": "weight",
}  # fmt: skip


def read_sinfo(text: str) -> SlurmMachine:
    """Return the machine of ``sinfo`` with a heading: ``-N -l``, or ``-o`` with at least nodes and processors, columns apart by blanks or bars.

    Raises
    ------
    InputError
        No heading of sinfo, or no node.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and re.match(r"\w{3} \w{3} ", lines[0]):  # -l prints the date first
        lines = lines[1:]
    heading = lines[0] if lines else ""
    bars = "|" in heading
    names = [_SINFO.get(word.strip().upper(), "") for word in (heading.split("|") if bars else heading.split())]
    if "nodes" not in names or "cpus" not in names:
        raise BAD_SINFO.error(heading=heading)
    nodes: dict[str, SlurmNode] = {}
    parts: dict[str, list[str]] = {}
    limits: dict[str, str] = {}
    for line in lines[1:]:
        cells = [cell.strip() for cell in (line.split("|") if bars else line.split(None, len(names) - 1))]
        row = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        digits = re.match(r"\d+", row.get("cpus", ""))
        if digits is None:
            continue
        features = tuple(word for word in row.get("features", "").split(",") if word and word != "(null)")
        size = re.match(r"\d+", row.get("memory", ""))
        for name in expand_hosts(row["nodes"]):
            nodes[name] = SlurmNode(
                name,
                int(digits[0]),
                int(size[0]) if size else 0,
                _gpus(row.get("gres", "")),
                features,
                int(row["weight"]) if row.get("weight", "").isdigit() else 1,
                row.get("state", "UNKNOWN").upper().rstrip("*~#!%$@^-"),
            )
            if "partition" in row:
                parts.setdefault(row["partition"], []).append(name)
        if "partition" in row:
            limits[row["partition"]] = row.get("time", "UNLIMITED")
    if not nodes:
        raise NO_NODES.error()
    partitions = tuple(
        SlurmPartition(name.rstrip("*"), tuple(dict.fromkeys(listed)), limits[name], name.endswith("*")) for name, listed in parts.items()
    )
    return SlurmMachine(nodes, partitions)


_GONE = ("DOWN", "DRAIN", "DRAINED", "FAIL", "FUTURE", "POWER_DOWN", "MAINT")


def cluster_section(machine: SlurmMachine, *, link: str | None = None, all_states: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Return the ``cluster`` section of a scenario, and notes on what it cannot say.

    Nodes with equal hardware are a group, named by their partition where they are one partition's alone, else by their first host. Of a tree of
    switches with equal branches the fabric is a fat tree with these branches.

    Parameters
    ----------
    machine : SlurmMachine
    link : str, optional
        Catalog link or rate of the network, which Slurm does not know; without it there is no fabric.
    all_states : bool
        Count nodes that are down or drained as well.
    """
    notes = list(machine.notes)
    gone = [node.name for node in machine.nodes.values() if node.state in _GONE] if not all_states else []
    if gone:
        notes.append(f"{len(gone)} nodes are out of service and left out: {fold_hosts(gone)}")
    alike: dict[tuple[Any, ...], list[SlurmNode]] = {}
    for node in machine.nodes.values():
        if node.name not in set(gone):
            alike.setdefault(node.hardware, []).append(node)
    groups: dict[str, Any] = {}
    for members in alike.values():
        first = members[0]
        name = _group_name(members, machine, groups)
        entry: dict[str, Any] = {"count": len(members), "cores": first.cpus}
        if first.memory_mib:
            entry["memory"] = f"{first.memory_mib} MiB"
        if first.gpus:
            kind = first.gpus[0][0]
            entry |= {"accelerator": kind or "unknown", "per_node": sum(count for _, count in first.gpus)}
            if len(first.gpus) > 1 or not kind:
                notes.append(f"{name}: {'GPUs of several types' if kind else 'GPUs without a type'}; name the accelerator")
        groups[name] = entry
    section: dict[str, Any] = {"nodes": groups}
    if machine.switches:
        down = _levels(machine.switches)
        if down is None:
            notes.append("the tree of switches is irregular, which a fat tree cannot say; the fabric is left out")
        elif link is None:
            notes.append(f"a tree of {len(down)} levels with {', '.join(map(str, down))} below a switch; name the link for a fabric")
        else:
            section["fabric"] = {"topology": "fat-tree", "link": link, "down": down, "up": [1] * len(down), "parallel": [1] * len(down)}
    elif link is not None:
        section["fabric"] = {"topology": "single-switch", "link": link}
    return section, notes


def _group_name(members: list[SlurmNode], machine: SlurmMachine, taken: Mapping[str, Any]) -> str:
    names = {node.name for node in members}
    own = [part.name for part in machine.partitions if set(part.nodes) == names]
    stem = own[0] if own else re.sub(r"[-_]?\d.*$", "", members[0].name) or "nodes"
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", stem)
    return next(name for name in (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)


def _levels(below: Mapping[str, tuple[str, ...]]) -> list[int] | None:
    """Return the children of a switch at each level, leaf level first; None where branches differ."""
    level = [name for name in below if not any(under in below for under in below[name])]
    down: list[int] = []
    while level:
        sizes = {len(below[name]) for name in level}
        if len(sizes) > 1:
            return None
        down.append(sizes.pop())
        level = [name for name in below if below[name] and set(below[name]) <= set(level)]
    return down
