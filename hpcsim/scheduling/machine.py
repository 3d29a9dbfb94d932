"""A machine of nodes with several resources: what there is, what jobs ask of it, and what is free.

Pure arithmetic on arrays with one entry per node. All amounts are whole numbers (cores, accelerators, bytes, shares of a device), so that
what is given back is exactly what was taken. What a machine is made of, and what jobs ask for, is in :mod:`hpcsim.scheduling.resources`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.scheduling.resources import (
    CORES,
    DEVICE,
    GPUS,
    MEMORY,
    Allocation,
    Bools,
    Demand,
    Integers,
    NodeClass,
    Pool,
    Window,
    described,
    shares_of,
)

__all__ = [
    "CORES",
    "DEVICE",
    "GPUS",
    "MEMORY",
    "Allocation",
    "Bools",
    "Demand",
    "Free",
    "Integers",
    "Machine",
    "NodeClass",
    "Pool",
    "Window",
    "described",
    "hostlist",
    "shares_of",
]

_FEW_NODES = 12
"""Up to so many nodes are gone through one by one."""
_CLOSED = 1 << 55
"""What is taken off every resource of a node that takes no new jobs."""

NO_NODES = problem_kind("machine-without-nodes", "a machine of no nodes is not possible", "give at least one class of nodes with a count")
BAD_CLASS = problem_kind("node-class", "{name} of the nodes {group!r} is {value}; it must be {bound}", "")
UNKNOWN_FEATURE = problem_kind("node-feature-unknown", "no node has the feature {name!r}", "known: {known}")


@dataclass(frozen=True, eq=False, slots=True)
class Machine:
    """Nodes and what is shared by all of them. Use :meth:`of` to build one.

    Attributes
    ----------
    total : int64 array, shape (3, nodes)
        Cores, accelerators and memory [bytes] of each node.
    classes : tuple of NodeClass
        What the nodes are, class after class.
    group : int64 array, shape (nodes,)
        Index of the class of each node.
    first : int64 array, shape (classes,)
        Number of the first node of each class.
    switch : int64 array, shape (levels, nodes)
        Number of the switch above each node at each level, the lowest first; no levels where the fabric is not known.
    pools : tuple of Pool
        Licences, limits and the like.
    sets : tuple of bool array, shape (nodes,)
        Sets of nodes that jobs may use; the first is all nodes.
    windows : tuple of Window
        Maintenance and reservations.
    shares : bool
        Devices are kept apart, since jobs take shares of them.
    torus : tuple of int
        Sizes of the torus whose points the nodes are; empty where they are none.
    ladder : tuple of int
        Classes in the order in which a job tries them; it then has nodes of one class only. Empty where its chunks may lie on nodes of several.
    """

    total: Integers
    classes: tuple[NodeClass, ...]
    group: Integers
    first: Integers
    switch: Integers
    pools: tuple[Pool, ...] = ()
    sets: tuple[Bools, ...] = ()
    windows: tuple[Window, ...] = ()
    shares: bool = False
    torus: tuple[int, ...] = ()
    ladder: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        classes: Iterable[NodeClass],
        *,
        switch: npt.ArrayLike | None = None,
        pools: Iterable[Pool] = (),
        sets: Iterable[npt.ArrayLike] = (),
        windows: Iterable[Window] = (),
        shares: bool = False,
        torus: tuple[int, ...] = (),
        ladder: tuple[int, ...] = (),
    ) -> Machine:
        """Return the machine with these classes of nodes; ``sets`` are sets of nodes beyond that of all.

        Raises
        ------
        InputError
            No nodes, or a class out of range.
        ValueError
            A ladder that leaves out a class, or has one twice.

        Examples
        --------
        >>> machine = Machine.of([NodeClass("gpu", 2, 64, 8), NodeClass("cpu", 1, 128)])
        >>> machine.total[GPUS].tolist(), machine.node_name(2)
        ([8, 8, 0], 'cpu0')
        """
        kinds = tuple(classes)
        for kind in kinds:
            for name, value, least in (("count", kind.count, 1), ("cores", kind.cores, 1), ("gpus", kind.gpus, 0)):
                if not least <= value <= 10**9:
                    raise BAD_CLASS.error(name=name, group=kind.name, value=value, bound=f"from {least} to {10**9}")
            if not 0 <= kind.memory_bytes < _CLOSED >> 10:
                raise BAD_CLASS.error(name="memory", group=kind.name, value=kind.memory_bytes, bound="at least 0 and below 32 TB")
        if not kinds:
            raise NO_NODES.error()
        if ladder and sorted(ladder) != list(range(len(kinds))):
            raise ValueError(f"the ladder {ladder} is no order of {len(kinds)} classes")
        counts = [kind.count for kind in kinds]
        known = [(kind.cores, kind.gpus, kind.memory_bytes or _CLOSED >> 8) for kind in kinds]
        total = np.repeat(np.array(known, dtype=np.int64).T, counts, axis=1)
        nodes = total.shape[1]
        levels = np.empty((0, nodes), dtype=np.int64) if switch is None else np.array(switch, dtype=np.int64).reshape(-1, nodes)
        everything = np.ones(nodes, dtype=np.bool_)
        return cls(
            total=total,
            classes=kinds,
            group=np.repeat(np.arange(len(kinds)), counts),
            first=np.cumsum([0, *counts[:-1]]),
            switch=levels,
            pools=tuple(pools),
            sets=(everything, *(np.array(one, dtype=np.bool_) for one in sets)),
            windows=tuple(windows),
            shares=shares,
            torus=tuple(torus),
            ladder=tuple(ladder) if len(kinds) > 1 else (),
        )

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.total.shape[1])

    @property
    def cores(self) -> int:
        """Cores of all nodes."""
        return int(self.total[CORES].sum())

    def on_one_class(self, chunks: Integers, need: int) -> Integers:
        """Return the chunks that nodes can take, shape (nodes,), of the first class of the ladder that can take ``need`` alone; else none at all.

        Examples
        --------
        >>> machine = Machine.of([NodeClass("gpu", 2, 64, 8), NodeClass("cpu", 2, 64)], ladder=(1, 0))
        >>> machine.on_one_class(np.array([3, 3, 2, 1]), 3).tolist(), machine.on_one_class(np.array([3, 3, 2, 1]), 4).tolist()
        ([0, 0, 2, 1], [3, 3, 0, 0])
        """
        first = self.first
        sums = np.add.reduceat(chunks, first)
        held = np.zeros_like(chunks)
        for at in self.ladder:
            if sums[at] >= need:
                mine = slice(int(first[at]), int(first[at]) + self.classes[at].count)
                held[mine] = chunks[mine]
                break
        return held

    def enough(self, chunks: Integers, need: int) -> Bools:
        """Return whether chunks that nodes can take, shape (…, nodes), are enough: on nodes of one class where there is a ladder."""
        if not self.ladder:
            return np.asarray(chunks.sum(axis=-1) >= need)
        return np.asarray((np.add.reduceat(chunks, self.first, axis=-1) >= need).any(axis=-1))

    def with_feature(self, name: str) -> Bools:
        """Return which nodes have a feature; the name of a class is one.

        Raises
        ------
        InputError
            No class has it.
        """
        classes = [i for i, kind in enumerate(self.classes) if name == kind.name or name in kind.features]
        if not classes:
            known = sorted({feature for kind in self.classes for feature in (kind.name, *kind.features)})
            raise UNKNOWN_FEATURE.error(name=name, known=", ".join(known))
        return np.isin(self.group, classes)

    def node_name(self, node: int) -> str:
        """Return the name of a node: that of its class, and its number in it."""
        kind = int(self.group[node])
        return f"{self.classes[kind].name}{node - int(self.first[kind])}"

    def holds(self, demand: Demand) -> bool:
        """Return whether the machine, empty and whole, could hold a job."""
        machine = dataclasses.replace(self, shares=True) if demand.share else self
        return Free(machine, [demand]).fits(0)

    def processor_equivalents(self, demand: Demand) -> float:
        """Return the size of a job in cores: the largest part that it takes of any resource of the nodes, times all cores.

        A job that takes more of the cores than of anything else has just its cores.
        """
        cores = demand.chunks * demand.cores
        all_cores, all_gpus, all_memory = (int(row.sum()) for row in self.total)
        gpus = demand.chunks * (demand.gpus + demand.share / DEVICE)
        most = max(gpus / all_gpus if all_gpus else 0.0, demand.chunks * demand.memory / all_memory)
        if demand.exclusive:
            most = max(most, min(demand.chunks, self.nodes) / self.nodes)
        return float(cores) if cores >= most * all_cores else most * all_cores


class Free:
    """What is free on a machine: changed by :meth:`take` and :meth:`give`; a copy is cheap.

    Parameters
    ----------
    machine : Machine
        The machine, empty and whole.
    demands : list of Demand
        Kinds of demands, by number; may grow.

    Examples
    --------
    Two nodes of four accelerators: after a job of three on one of them, four chunks of one fit only there and on the other together.

    >>> free = Free(Machine.of([NodeClass("gpu", 2, 32, 4)]), [Demand(1, gpus=3), Demand(4, gpus=1), Demand(2, gpus=2)])
    >>> free.take(0, Allocation((0,), (1,)))
    >>> free.capacity(1).tolist(), free.fits(1), free.fits(2)
    ([1, 4], True, True)
    """

    __slots__ = ("_cells", "_closed", "_last", "_needs", "_no", "_yes", "asleep", "cached", "demands", "devices", "free", "machine", "pools", "total")  # fmt: skip

    def __init__(self, machine: Machine, demands: list[Demand]) -> None:
        self.machine = machine
        self.demands = demands
        self.free: Integers = machine.total.copy(order="C")
        """Shape (3, nodes); a closed node has less than nothing."""
        self._cells = memoryview(self.free.reshape(-1))  # type: ignore[arg-type]
        self.devices: Integers | None = None
        """Shares that are free of each device, shape (nodes, devices); -1 where a node has no such device."""
        if machine.shares:
            most = max(1, int(machine.total[GPUS].max()))
            self.devices = np.where(np.arange(most) < machine.total[GPUS][:, None], DEVICE, -1).astype(np.int64)
        self.pools = [pool.capacity for pool in machine.pools]
        self.total = [int(row.sum()) for row in machine.total]
        """What is free on all nodes, closed ones too: no job fits that needs more."""
        self.asleep: npt.NDArray[np.int8] | None = None
        """How far each node is from working, 0 for one that is on; None where nodes are not switched off."""
        self.cached: dict[int, Bools] | None = None
        """Which nodes hold which data set, by its number; None where nodes keep nothing."""
        self._closed: dict[int, int] = {}
        self._needs: list[tuple[int, int, int]] = []
        self._yes: set[int] = set()
        self._no: set[int] = set()
        self._last: tuple[int, Integers] | None = None
        """Capacity of the kind that was asked for last, while nothing has changed."""

    def copy(self) -> Free:
        """Return an independent copy."""
        other = Free.__new__(Free)
        other.machine, other.demands, other._needs = self.machine, self.demands, self._needs
        other.free = self.free.copy()
        other._cells = memoryview(other.free.reshape(-1))  # type: ignore[arg-type]
        other.devices = None if self.devices is None else self.devices.copy()
        other.pools = self.pools.copy()
        other.total = self.total.copy()
        other.asleep, other.cached = self.asleep, self.cached
        other._closed = self._closed.copy()
        other._yes, other._no, other._last = self._yes.copy(), self._no.copy(), self._last
        return other

    def __deepcopy__(self, memo: object) -> Free:
        return self.copy()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Free):
            return NotImplemented
        return (
            np.array_equal(self.free, other.free)
            and self.pools == other.pools
            and (self.devices is None or (other.devices is not None and np.array_equal(self.devices, other.devices)))
        )

    __hash__ = None  # type: ignore[assignment]

    # -- questions ----------------------------------------------------------------------------------------------------------------

    def capacity(self, kind: int, usable: Bools | None = None, within: Integers | None = None) -> Integers:
        """Return how many chunks of a kind of demand each node can take now, shape (nodes,).

        It must not be changed. Where a job has nodes of one class only, it is 0 on all nodes but those of the first class of the ladder that
        can take the whole job; on all, where none can.

        Parameters
        ----------
        kind : int
            Number of the demand.
        usable : bool array, shape (nodes,), optional
            Nodes that count; all that the demand may use without it.
        within : int64 array, shape (nodes,), optional
            Chunks at most on each node.
        """
        last = self._last
        if usable is None and within is None and last is not None and last[0] == kind:
            return last[1]
        chunks = self.each(kind, usable)
        if within is not None:
            np.minimum(chunks, within, out=chunks)
        machine = self.machine
        if machine.ladder:
            chunks = machine.on_one_class(chunks, self.demands[kind].chunks)
        if usable is None and within is None:
            self._last = kind, chunks
        return chunks

    def each(self, kind: int, usable: Bools | None = None) -> Integers:
        """Return how many chunks of a kind of demand each node can take now, whatever the others can, shape (nodes,); parameters as of :meth:`capacity`."""
        demand = self.demands[kind]
        free = self.free
        chunks = free[CORES] // demand.cores if demand.cores > 1 else free[CORES].copy()
        if demand.gpus:
            np.minimum(chunks, free[GPUS] // demand.gpus if demand.gpus > 1 else free[GPUS], out=chunks)
        elif demand.share:
            assert self.devices is not None
            np.minimum(chunks, (np.maximum(self.devices, 0) // demand.share).sum(axis=1), out=chunks)
        if demand.memory:
            np.minimum(chunks, free[MEMORY] // demand.memory, out=chunks)
        if demand.exclusive:
            chunks[free[CORES] != self.machine.total[CORES]] = 0
        if demand.apart:
            np.minimum(chunks, 1, out=chunks)
        if self._closed:
            np.maximum(chunks, 0, out=chunks)
        if demand.where:
            chunks[~self.machine.sets[demand.where]] = 0
        if usable is not None:
            chunks[~usable] = 0
        return np.asarray(chunks)

    def fits(self, kind: int, usable: Bools | None = None) -> bool:
        """Return whether a job of a kind of demand can start now; see :meth:`capacity`."""
        if kind in self._no:
            return False
        if usable is None and kind in self._yes:
            return True
        if not self._could(self.demands[kind]):
            self._no.add(kind)
            return False
        chunks = self.demands[kind].chunks
        if chunks > 1 and self.machine.ladder:
            enough = bool(self.machine.enough(self.each(kind, usable), chunks))
        else:
            capacity = self.each(kind, usable) if self.machine.ladder else self.capacity(kind, usable)
            enough = capacity.item(capacity.argmax()) > 0 if chunks == 1 else int(capacity.sum()) >= chunks
        if usable is None:
            (self._yes if enough else self._no).add(kind)
        return enough

    def needs(self) -> list[tuple[int, int, int]]:
        """Return the cores, accelerators and memory that a job of each kind takes in all."""
        needs, demands = self._needs, self.demands
        if len(needs) < len(demands):
            needs += [(d.chunks * d.cores, d.chunks * d.gpus, d.chunks * d.memory) for d in demands[len(needs) :]]
        return needs

    def fitting(self, kinds: Iterable[int]) -> list[int]:
        """Return which of some kinds of demand can start now."""
        no, yes, needs = self._no, self._yes, self.needs()
        cores, gpus, memory = self.total
        found = []
        for kind in kinds:
            if kind in yes:
                found.append(kind)
            elif kind not in no:
                need = needs[kind]
                if need[1] <= gpus and need[0] <= cores and need[2] <= memory and self.fits(kind):
                    found.append(kind)
        return found

    def _could(self, demand: Demand) -> bool:
        """Return whether the amounts that are free would do if they lay where they are needed."""
        chunks, (cores, gpus, memory) = demand.chunks, self.total
        if chunks * demand.gpus > gpus or chunks * demand.cores > cores or chunks * demand.memory > memory:
            return False
        pools = self.pools
        return all(amount <= pools[pool] for pool, amount in demand.pooled)

    def over_limit(self, kind: int) -> bool:
        """Return whether a limit keeps a kind of demand from starting now."""
        pools = self.machine.pools
        return any(pools[pool].limit and amount > self.pools[pool] for pool, amount in self.demands[kind].pooled)

    def lacks(self, kind: int) -> tuple[str, ...]:
        """Return what a job of a kind would have to wait for now: ``cores``, ``accelerators``, ``memory``, pools by name, or ``nodes``.

        ``nodes`` means that there is enough in all, but not where one chunk needs it.
        """
        demand = self.demands[kind]
        missing = []
        opened = [np.maximum(row, 0) for row in self.free]
        where = self.machine.sets[demand.where]
        for name, row, need in zip(("cores", "accelerators", "memory"), opened, (demand.cores, demand.gpus, demand.memory), strict=True):
            if demand.chunks * need > int(row[where].sum()):
                missing.append(name)
        missing += [self.machine.pools[pool].name for pool, amount in demand.pooled if amount > self.pools[pool]]
        if not missing and not self.fits(kind):
            missing.append("nodes")
        return tuple(missing)

    # -- changes ------------------------------------------------------------------------------------------------------------------

    def allocate(self, kind: int, nodes: Sequence[int], counts: Sequence[int]) -> Allocation:
        """Return the allocation of chunks on nodes; where devices are kept apart, with devices: shares go to the fullest that will do."""
        demand = self.demands[kind]
        if self.devices is None or not (demand.gpus or demand.share):
            return Allocation(tuple(nodes), tuple(counts))
        taken: list[tuple[int, int, int]] = []
        for node, count in zip(nodes, counts, strict=True):
            row = self.devices[node].tolist()
            if demand.gpus:
                idle = [device for device, left in enumerate(row) if left == DEVICE]
                taken += [(node, device, DEVICE) for device in idle[: count * demand.gpus]]
                continue
            for _ in range(count):
                device = min((d for d, left in enumerate(row) if left >= demand.share), key=lambda d: (row[d], d))
                row[device] -= demand.share
                taken.append((node, device, demand.share))
        return Allocation(tuple(nodes), tuple(counts), tuple(taken))

    def take(self, kind: int, allocation: Allocation) -> None:
        """Take what a job holds."""
        self._move(self.demands[kind], allocation, -1)
        self._yes.clear()
        self._last = None

    def give(self, kind: int, allocation: Allocation) -> None:
        """Give back what a job held."""
        self._move(self.demands[kind], allocation, 1)
        self._no.clear()
        self._last = None

    def _move(self, demand: Demand, allocation: Allocation, sign: int) -> None:
        free, total = self.free, self.total
        nodes = allocation.nodes
        if demand.exclusive:
            index = list(nodes)
            all_of = self.machine.total[:, index]
            free[:, index] += sign * all_of
            for row, amount in enumerate(all_of.sum(axis=1).tolist()):
                total[row] += sign * amount
        elif len(nodes) <= _FEW_NODES:
            cells, wide = self._cells, free.shape[1]  # an array's cell is 4 times as dear
            cores, gpus, memory = demand.cores, demand.gpus, demand.memory
            chunks = 0
            for node, count in zip(nodes, allocation.counts):
                count *= sign
                chunks += count
                cells[node] += count * cores
                if gpus:
                    cells[wide + node] += count * gpus
                if memory:
                    cells[2 * wide + node] += count * memory
            total[CORES] += chunks * cores
            total[GPUS] += chunks * gpus
            total[MEMORY] += chunks * memory
        else:
            index, counts = list(nodes), np.array(allocation.counts, dtype=np.int64)
            count = sign * int(counts.sum())
            for row, amount in ((CORES, demand.cores), (GPUS, demand.gpus), (MEMORY, demand.memory)):
                if amount:
                    free[row, index] += (sign * amount) * counts
                    total[row] += count * amount
        for pool, amount in demand.pooled:
            self.pools[pool] += sign * amount
        if self.devices is not None:
            self._move_devices(demand, allocation, sign)

    def _move_devices(self, demand: Demand, allocation: Allocation, sign: int) -> None:
        """Move shares of devices, and keep the number of those that are wholly free."""
        devices = self.devices
        assert devices is not None
        moved = allocation.devices
        if demand.exclusive:
            moved = tuple((node, device, DEVICE) for node in allocation.nodes for device in range(int(self.machine.total[GPUS, node])))
        for node, device, shares in moved:
            before = int(devices[node, device])
            devices[node, device] = after = before + sign * shares
            if shares < DEVICE:
                change = int(after == DEVICE) - int(before == DEVICE)
                self.free[GPUS, node] += change
                self.total[GPUS] += change

    def close(self, node: int) -> None:
        """Let a node take no new jobs; it may be closed several times, and opens when each is undone."""
        self._closed[node] = self._closed.get(node, 0) + 1
        if self._closed[node] == 1:
            self.free[:, node] -= _CLOSED
            if self.devices is not None:
                self.devices[node] -= _CLOSED
        self._yes.clear()
        self._last = None

    def open(self, node: int) -> None:
        """Undo one :meth:`close`."""
        self._closed[node] -= 1
        if not self._closed[node]:
            del self._closed[node]
            self.free[:, node] += _CLOSED
            if self.devices is not None:
                self.devices[node] += _CLOSED
        self._no.clear()
        self._last = None

    def is_closed(self, node: int) -> bool:
        """Return whether a node takes no new jobs."""
        return node in self._closed

    @property
    def closed(self) -> int:
        """Number of closed nodes."""
        return len(self._closed)


def hostlist(machine: Machine, nodes: Iterable[int]) -> str:
    """Return node names in compact form.

    Examples
    --------
    >>> hostlist(Machine.of([NodeClass("gpu", 6, 64, 8), NodeClass("cpu", 2, 128)]), [0, 1, 2, 5, 7])
    'gpu[0-2,5],cpu1'
    """
    runs: dict[int, list[list[int]]] = {}
    for node in sorted(nodes):
        kind = int(machine.group[node])
        number = node - int(machine.first[kind])
        row = runs.setdefault(kind, [])
        if row and row[-1][1] == number - 1:
            row[-1][1] = number
        else:
            row.append([number, number])
    parts = []
    for kind, row in runs.items():
        text = ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in row)
        alone = len(row) == 1 and row[0][0] == row[0][1]
        name = machine.classes[kind].name
        name += "-" if len(machine.classes) > 1 and name[-1:].isdigit() else ""  # a1 and its node 0 are not node 10 of a
        parts.append(f"{name}{text if alone else f'[{text}]'}")
    return ",".join(parts)


def demands_by_name(machine: Machine, demand: Demand) -> Mapping[str, float]:
    """Return what a job takes in all, by resource: for explanations and usage."""
    named = {
        "cores": float(demand.chunks * demand.cores),
        "accelerators": demand.chunks * (demand.gpus + demand.share / DEVICE),
        "memory_bytes": float(demand.chunks * demand.memory),
    }
    return named | {machine.pools[pool].name: float(amount) for pool, amount in demand.pooled}
