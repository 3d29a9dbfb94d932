"""Steps of many runs at once: what differs between them is stacked into arrays, and each gets back what it would have got alone.

A sweep asks for thousands of single steps, and numpy takes as long for one as for a hundred. Runs are worked out together where they have the
same arithmetic, kinds of links and names; every number may differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, cast

import numpy as np

from hpcsim.base.errors import InputError
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import Device
from hpcsim.cost.memory import MemoryTerms
from hpcsim.cost.models import Model, Work
from hpcsim.cost.parallelism import Layout, validity
from hpcsim.cost.software import Software
from hpcsim.cost.step_cost import StepCost
from hpcsim.cost.training import step

__all__ = ["StepRequest", "steps_together"]


@dataclass(frozen=True)
class StepRequest:
    """One step, as :func:`hpcsim.cost.training.step` takes it; every number is a scalar."""

    model: Model | Work
    device: Device
    fabric: Fabric
    layout: Layout
    software: Software
    global_batch: int
    sequence: int
    precision: str
    devices: int


class _NotPlainError(Exception):
    """A field that cannot be stacked."""


class _Leaves:
    """The numbers of an object in a fixed order, and everything else as a key; each object is read once."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[Any, tuple[Hashable, list[Any]]]] = {}

    def of(self, value: Any) -> tuple[Hashable, list[Any]]:
        """Return ``(form, numbers)`` of a dataclass, a mapping, a number, a text or None."""
        known = self._read.get(id(value))
        if known is None:
            known = self._read[id(value)] = (value, self._fresh(value))  # the object is held, so that its id stays its own
        return known[1]

    def _fresh(self, value: Any) -> tuple[Hashable, list[Any]]:
        if value is None or isinstance(value, str):
            return value, []
        if isinstance(value, Mapping):
            parts = [(name, self._fresh(item)) for name, item in value.items()]
        elif is_dataclass(value):
            parts = [(item.name, self._fresh(getattr(value, item.name))) for item in fields(value) if item.name != "notes"]
        elif np.ndim(value) == 0:
            return "#", [value.item() if hasattr(value, "item") else value]
        else:
            raise _NotPlainError
        form = (type(value).__name__, *((name, part[0]) for name, part in parts))
        return form, [number for _, part in parts for number in part[1]]


def _stacked(first: Any, columns: list[Any]) -> Any:
    """Return ``first`` with its numbers, in the order of :class:`_Leaves`, replaced by the next columns; None keeps a number."""
    if first is None or isinstance(first, str):
        return first
    if isinstance(first, Mapping):
        return {name: _stacked(item, columns) for name, item in first.items()}
    if is_dataclass(first):
        found = {item.name: _stacked(getattr(first, item.name), columns) for item in fields(first) if item.name != "notes"}
        if isinstance(first, Layout):
            return Layout.of_columns(found)
        return dataclasses.replace(cast("Any", first), **found)
    column = columns.pop(0)
    return first if column is None else column


def _columns(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the numbers of many objects column by column; None where all have the same."""
    return [None if all(value == column[0] for value in column) else np.array(column) for column in zip(*rows, strict=True)]


def steps_together(requests: Sequence[StepRequest]) -> list[StepCost | None]:
    """Return the cost of each step, as :func:`hpcsim.cost.training.step` would return it for each alone, bit for bit.

    Returns
    -------
    list of StepCost or None
        Scalars, in the order of the requests. None for what has to be asked for alone: a layout that cannot be, a request that is refused, an
        argument that is an array already.
    """
    leaves = _Leaves()
    kin: dict[Hashable, list[tuple[int, list[Any]]]] = {}
    for number, request in enumerate(requests):
        try:
            form, numbers = _read(leaves, request)
        except _NotPlainError:
            continue
        kin.setdefault(form, []).append((number, numbers))
    found: list[StepCost | None] = [None] * len(requests)
    for members in kin.values():
        numbers_of = [number for number, _ in members]
        rows = [row for _, row in members]
        for number, cost in zip(numbers_of, _group([requests[n] for n in numbers_of], rows), strict=True):
            found[number] = cost
    return found


def _read(leaves: _Leaves, request: StepRequest) -> tuple[Hashable, list[Any]]:
    """Return form and numbers of a request, part by part: most parts are shared by many requests."""
    forms: list[Hashable] = []
    numbers: list[Any] = []
    for item in fields(request):
        form, row = leaves.of(getattr(request, item.name))
        forms.append(form)
        numbers += row
    return tuple(forms), numbers


def _group(requests: Sequence[StepRequest], rows: Sequence[Sequence[Any]]) -> list[StepCost | None]:
    """Return the steps of requests of one form."""
    try:
        whole: StepRequest = _stacked(requests[0], _columns(rows))
        ok = np.broadcast_to(_possible(whole), (len(requests),))
        if not ok.all():
            kept: list[int] = np.flatnonzero(ok).tolist()
            if not kept:
                return [None] * len(requests)
            some = iter(_group([requests[n] for n in kept], [rows[n] for n in kept]))
            return [next(some) if good else None for good in ok]
        cost = step(
            whole.model,
            whole.device,
            whole.fabric,
            whole.layout,
            global_batch=whole.global_batch,
            sequence=whole.sequence,
            precision=whole.precision,
            software=whole.software,
            check=False,
        )
    except InputError:
        return [None] * len(requests)
    return list(_apart(cost, len(requests)))


def _possible(whole: StepRequest) -> Any:
    if isinstance(whole.model, Work):
        return True
    ok, _ = validity(whole.layout, whole.model, devices=whole.devices, global_batch=whole.global_batch, sequence=whole.sequence)
    return ok


def _apart(cost: StepCost, count: int) -> list[StepCost]:
    """Return the steps of a cost that holds many, each as scalars."""

    def row(value: Any) -> Any:
        return np.broadcast_to(np.asarray(value), (count,))

    plain = {item.name: row(getattr(cost, item.name)) for item in fields(cost) if item.name not in ("terms", "activity", "memory")}
    terms = {name: row(value) for name, value in cost.terms.items()}
    shares = {name: row(value) for name, value in cost.activity.items()}
    memory = {name: row(value) for name, value in cost.memory.terms().items()}
    return [
        StepCost(
            **{name: column[n] for name, column in plain.items()},
            terms={name: column[n] for name, column in terms.items()},
            activity={name: column[n] for name, column in shares.items()},
            memory=MemoryTerms(**{name: column[n] for name, column in memory.items()}),
        )
        for n in range(count)
    ]
