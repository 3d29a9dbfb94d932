"""Layouts: which parallel dimension has which size, whether it can be, where it lies on the machine, and all there are.

A :class:`Layout` is a struct of arrays: one layout or a million, field by field. Devices are numbered with tensor parallel innermost,
then context, data (expert parallel inside data) and pipeline outermost, so that the talkative dimensions stay inside a scale-up
domain.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, at_least, broadcast, fraction, positive, whole
from hpcsim.cost.collectives import members_in_domain
from hpcsim.cost.models import Model
from hpcsim.cost.pipeline import SCHEDULES, schedule_code

__all__ = [
    "RECOMPUTE",
    "Groups",
    "Layout",
    "StageLayers",
    "data_parallel_size",
    "divisors",
    "groups",
    "recompute_code",
    "space",
    "stage_layers",
    "validity",
]

UNKNOWN_RECOMPUTE = problem_kind("unknown-recompute", "unknown recomputation {name!r}", "one of: {known}")
BAD_ZERO = problem_kind("zero-stage", "ZeRO has no stage {stage:g}", "0, 1, 2 or 3")

RECOMPUTE = ("none", "selective", "full")
"""Recomputation by code: nothing; what is cheap (the attention core where its scores would be kept, else norms and activations);
every layer from its input."""

_SIZES = ("dp", "tp", "pp", "vpp", "cp", "ep", "etp", "micro_batch")


def recompute_code(recompute: object) -> npt.NDArray[np.int64]:
    """Return the code(s) of one kind of recomputation or an array of them, by name, code, or None for none.

    Raises
    ------
    InputError
        An unknown name.
    """
    values = np.asarray("none" if recompute is None else recompute)
    if values.dtype.kind in "iuf" and ((values >= 0) & (values < len(RECOMPUTE))).all():
        return values.astype(np.int64)
    out = np.zeros(values.shape, dtype=np.int64)
    for name in np.unique(values.astype(str)):
        if name not in RECOMPUTE:
            raise UNKNOWN_RECOMPUTE.error(path="recompute", name=str(name), known=", ".join(RECOMPUTE))
        out[values.astype(str) == name] = RECOMPUTE.index(name)
    return out


@dataclass(frozen=True)
class Layout:
    """How a training job is spread over devices.

    Attributes
    ----------
    dp, tp, pp, vpp, cp, ep, etp : int or array
        Data, tensor, pipeline (stages, chunks a stage), context, expert and expert-tensor parallel sizes. ``ep`` divides dp·cp·tp/etp.
        ``etp`` 0: as tp without experts in parallel, else 1.
    micro_batch : int or array
        Sequences a device group works on at once.
    zero_stage : int or array
        What is sharded over the data-parallel group: 0 nothing, 1 optimizer, 2 and gradients, 3 and weights.
    recompute : str, int or array
        See :data:`RECOMPUTE`.
    recompute_frac : float or array
        Share of the layers that are recomputed where ``recompute`` is full; the others keep everything.
    sequence_parallel : bool or array
        Activations outside the tensor-parallel matrices split too.
    schedule : str, int or array
        See :data:`hpcsim.cost.pipeline.SCHEDULES`; 1f1b with vpp > 1 is interleaved.
    overlap : bool or array
        Communication of gradients and parameters behind computation.
    offload : bool or array
        Optimizer state and update on the host.
    """

    dp: Numeric = 1
    tp: Numeric = 1
    pp: Numeric = 1
    vpp: Numeric = 1
    cp: Numeric = 1
    ep: Numeric = 1
    etp: Numeric = 0
    micro_batch: Numeric = 1
    zero_stage: Numeric = 0
    recompute: Any = "none"
    sequence_parallel: Numeric = False
    schedule: Any = "1f1b"
    overlap: Numeric = True
    offload: Numeric = False
    recompute_frac: Numeric = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "recompute_frac", fraction("recompute_frac", self.recompute_frac))
        for name in _SIZES:
            object.__setattr__(self, name, whole(name, getattr(self, name), low=0 if name == "etp" else 1))
        stage = at_least("zero_stage", self.zero_stage, 0)
        if (~np.isin(stage, (0, 1, 2, 3))).any():
            raise BAD_ZERO.error(path="zero_stage", stage=float(np.max(stage)))
        object.__setattr__(self, "zero_stage", stage)
        object.__setattr__(self, "recompute", recompute_code(self.recompute))
        code = schedule_code(self.schedule)
        interleaved = SCHEDULES.index("interleaved")
        code = np.where((code == SCHEDULES.index("1f1b")) & (self.vpp > 1), interleaved, code)
        code = np.where((code == interleaved) & (self.vpp <= 1), SCHEDULES.index("1f1b"), code)
        object.__setattr__(self, "schedule", code)
        for name in ("sequence_parallel", "overlap", "offload"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=bool))
        object.__setattr__(self, "etp", np.where(self.etp > 0, self.etp, np.where(self.ep > 1, 1, self.tp)))
        shape = broadcast(*(getattr(self, item.name) for item in fields(self)))
        object.__setattr__(self, "_shape", shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Common shape of the fields; () for one layout."""
        return self._shape  # type: ignore[attr-defined, no-any-return]

    @property
    def devices(self) -> Array:
        """Devices the layout takes: dp·tp·pp·cp."""
        return np.asarray(self.dp * self.tp * self.pp * self.cp)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return every field as an array of the common shape."""
        return {item.name: np.broadcast_to(getattr(self, item.name), self.shape) for item in fields(self)}

    def take(self, index: Any) -> Layout:
        """Return the layouts at ``index``: a mask, indices, a slice or one number."""
        return Layout(**{name: column[index] for name, column in self.columns().items()})

    def row(self, index: int | tuple[int, ...] = ()) -> dict[str, Any]:
        """Return one layout as plain values, with names for recomputation and schedule."""
        out: dict[str, Any] = {}
        for name, column in self.columns().items():
            value = column[index].item()
            if name == "recompute_frac" and value == 1.0:
                continue
            if name == "recompute":
                value = RECOMPUTE[value]
            elif name == "schedule":
                value = SCHEDULES[value]
            whole_number = not isinstance(value, (bool, str)) and float(value).is_integer()
            out[name] = int(value) if whole_number else value
        return out


@dataclass(frozen=True, slots=True)
class StageLayers:
    """Layers a stage holds.

    Attributes
    ----------
    first, middle, last : float or array
        On the first stage, the fullest middle one and the last; equal on a single stage.
    possible : bool or array
        No chunk is empty.
    """

    first: Array
    middle: Array
    last: Array
    possible: npt.NDArray[np.bool_]


def stage_layers(layers: Numeric, pp: Numeric, vpp: Numeric = 1) -> StageLayers:
    """Spread layers over stages as evenly as possible.

    Where pp·vpp divides them every chunk gets as many. Else embedding and loss count as one layer each at the two ends, the L+2 units
    are spread evenly over the chunks, and what is left over goes to the middle stages first, then to the first, never to the last.
    Impossible only where a chunk would be empty.

    >>> s = stage_layers(70, 12)
    >>> int(s.first), int(s.middle), int(s.last)
    (5, 6, 5)
    """
    n, p, v = at_least("layers", layers, 1), whole("pp", pp), whole("vpp", vpp)
    broadcast(n, p, v)
    chunks = p * v
    even = n / p
    divides = np.mod(n, chunks) == 0
    units = n + 2.0
    base, left = np.floor(units / chunks), np.mod(units, chunks)
    per_stage, over = np.floor(left / p), np.mod(left, p)
    middle = base * v + per_stage + (over > 0)
    first = base * v - 1.0 + per_stage + (over > np.maximum(p - 2.0, 0.0))
    last = base * v - 1.0 + per_stage
    alone = p <= 1
    first = np.where(divides | alone, even, first)
    last = np.where(divides | alone, even, last)
    middle = np.where(divides | alone, even, np.where(p > 2, middle, np.maximum(first, last)))
    possible = divides | (units >= chunks)
    return StageLayers(np.asarray(first)[()], np.asarray(middle)[()], np.asarray(last)[()], np.asarray(possible)[()])


@dataclass(frozen=True, slots=True)
class Groups:
    """Where each kind of group lies: members in all, and in one scale-up domain.

    Attributes
    ----------
    tensor, context, expert, data, expert_data : tuple of array
        (members, members that share a domain). ``data`` reduces dense gradients (over dp·cp), ``expert_data`` the experts'.
    stages_cross : bool or array
        Some pipeline boundary leaves the domain.
    """

    tensor: tuple[Array, Array]
    context: tuple[Array, Array]
    expert: tuple[Array, Array]
    data: tuple[Array, Array]
    expert_data: tuple[Array, Array]
    stages_cross: npt.NDArray[np.bool_]


def groups(layout: Layout, domain: Numeric) -> Groups:
    """Return the groups of a layout on scale-up domains of ``domain`` devices, filled in order tp, cp, dp, pp."""
    tp, cp, ep, etp = layout.tp, layout.cp, layout.ep, layout.etp
    data = layout.dp * cp
    expert_data = np.maximum(np.floor(data * tp / (ep * etp)), 1.0)

    def group(size: Array, stride: Array) -> tuple[Array, Array]:
        return size, members_in_domain(size, stride, domain)

    one = np.ones_like(tp)
    return Groups(
        tensor=group(tp, one),
        context=group(cp, tp),
        expert=group(ep, etp),
        data=group(data, tp),
        expert_data=group(expert_data, ep * etp),
        stages_cross=np.asarray((layout.pp > 1) & (layout.devices > np.asarray(domain, float))),
    )


def validity(
    layout: Layout, model: Model | None, *, devices: Numeric, global_batch: Numeric, sequence: Numeric | None = None
) -> tuple[npt.NDArray[np.bool_], dict[str, npt.NDArray[np.bool_]]]:
    """Return which layouts can be, and why the others cannot.

    Parameters
    ----------
    model : Model or None
        None checks what does not depend on it.

    Returns
    -------
    ok : bool array
    reasons : dict of str to bool array
        ``world-size``, ``batch``, ``interleaving``, ``layers``, ``heads``, ``kv-heads``, ``experts``, ``sequence``: true where that
        rule is broken. A layout may break several.
    """
    count, batch = positive("devices", devices), positive("global_batch", global_batch)
    micro = layout.dp * layout.micro_batch
    m = batch / micro
    reasons: dict[str, npt.NDArray[np.bool_]] = {
        "world-size": np.asarray(layout.devices != count),
        "batch": np.asarray(np.mod(batch, micro) != 0),
        "interleaving": np.asarray((layout.vpp > 1) & ((layout.pp <= 1) | (np.mod(m, layout.pp) != 0))),
        "sequence-parallel": np.asarray(layout.sequence_parallel & (layout.tp <= 1)),
        "experts": np.asarray(np.mod(layout.dp * layout.cp * layout.tp, layout.ep * layout.etp) != 0),
    }
    if sequence is not None:
        share = np.where(layout.sequence_parallel, layout.tp, 1.0) * layout.cp
        reasons["sequence"] = np.asarray(np.mod(positive("sequence", sequence), share) != 0)
    if model is not None:
        kv = np.where(model.latent, model.heads, model.kv_heads)
        fits_kv = (np.mod(kv, layout.tp) == 0) | (np.mod(layout.tp, kv) == 0)
        reasons["layers"] = ~np.asarray(stage_layers(model.all_layers, layout.pp, layout.vpp).possible)
        reasons["heads"] = np.asarray(np.mod(model.heads, layout.tp) != 0)
        reasons["kv-heads"] = ~np.asarray(fits_kv)
        no_experts = (model.experts <= 0) & (layout.ep > 1)
        reasons["experts"] |= np.asarray(no_experts | ((model.experts > 0) & (np.mod(model.experts, layout.ep) != 0)))
    bad = np.zeros((), dtype=bool)
    for reason in reasons.values():
        bad = bad | reason
    return ~np.asarray(bad), reasons


def divisors(n: int, *, limit: int | None = None) -> list[int]:
    """Return the divisors of n up to a limit, ascending.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    value = int(whole("n", n))
    small = [d for d in range(1, int(value**0.5) + 1) if value % d == 0]
    every = sorted({*small, *(value // d for d in small)})
    return [d for d in every if limit is None or d <= limit]


_DEFAULT_AXES: dict[str, Sequence[Any]] = {
    "vpp": (1, 2, 3, 4, 5, 6, 8, 10, 12),
    "cp": (1, 2, 4, 8),
    "ep": (1, 2, 4, 8, 16, 32, 64),
    "micro_batch": (1, 2, 4, 8, 16, 32),
    "zero_stage": (0, 1, 2, 3),
    "recompute": (0, 1, 2),
    "sequence_parallel": (False, True),
    "schedule": ("1f1b",),
    "overlap": (True,),
    "offload": (False,),
}


_SHAPES = ("vpp", "ep", "micro_batch", "sequence_parallel")
"""Axes, beside tp, pp and cp, on which it depends whether a layout can be."""

_WAYS = ("zero_stage", "recompute", "schedule", "overlap", "offload")
"""Axes on which it does not."""


def _crossed(values: Sequence[Sequence[Any]]) -> list[npt.NDArray[Any]]:
    """All combinations, column by column."""
    return [grid.ravel() for grid in np.meshgrid(*(np.asarray(v) for v in values), indexing="ij")]


def _shapes(tried: Mapping[str, Sequence[Any]], total: int) -> tuple[dict[str, npt.NDArray[Any]], int]:
    """Combinations of sizes that take ``total`` devices, and how many take another number."""
    outer = np.array(list(itertools.product(tried["tp"], tried["pp"], tried["cp"])), dtype=np.int64).reshape(-1, 3)
    fits = total % outer.prod(axis=1) == 0
    kept = outer[fits]
    index, *rest = _crossed([range(len(kept)), *(tried[name] for name in _SHAPES)])
    chosen = kept[index.astype(np.int64)]
    columns = dict(zip(_SHAPES, rest, strict=True))
    columns |= {"tp": chosen[:, 0], "pp": chosen[:, 1], "cp": chosen[:, 2], "dp": total // chosen.prod(axis=1)}
    return columns, int((~fits).sum()) * int(np.prod([len(tried[name]) for name in _SHAPES]))


def space(
    model: Model, *, devices: int, global_batch: int, sequence: int, axes: Mapping[str, Sequence[Any]] | None = None, max_tp: int = 64
) -> tuple[Layout, dict[str, int]]:
    """Enumerate the layouts of a job as arrays.

    Parameters
    ----------
    model : Model
        Of scalars.
    devices, global_batch, sequence : int
    axes : mapping of str to sequence, optional
        Values to try per field, in place of the defaults; ``dp`` always follows from the devices.
    max_tp : int
        Largest tensor-parallel size tried by default.

    Returns
    -------
    layouts : Layout
        Those that can be; ZeRO 2 and 3 only without pipeline, each layout once (no ZeRO without data parallelism).
    removed : dict of str to int
        Combinations dropped, by the first rule they break.
    """
    total = int(whole("devices", devices))
    tried: dict[str, Sequence[Any]] = dict(_DEFAULT_AXES)
    tried["tp"] = divisors(total, limit=max_tp)
    tried["pp"] = divisors(total, limit=int(float(model.all_layers)) + 2)
    if not float(model.experts):
        tried["ep"] = (1,)
    tried.update(axes or {})
    tried["recompute"] = [int(recompute_code(x)) for x in tried["recompute"]]
    tried["schedule"] = [int(schedule_code(x)) for x in tried["schedule"]]
    ways = _crossed([tried[name] for name in _WAYS])
    columns, odd = _shapes(tried, total)
    removed = {"world-size": odd * len(ways[0])}
    shapes = Layout(**columns)
    ok, reasons = validity(shapes, model, devices=total, global_batch=global_batch, sequence=sequence)
    undecided = np.ones(len(ok), dtype=bool)
    for reason, broken in reasons.items():
        hit = undecided & np.broadcast_to(broken, ok.shape)
        removed[reason] = removed.get(reason, 0) + int(hit.sum()) * len(ways[0])
        undecided &= ~hit
    row, way = (grid.ravel() for grid in np.meshgrid(np.flatnonzero(ok), np.arange(len(ways[0])), indexing="ij"))
    zero = ways[0][way]
    alone, piped = columns["dp"] * columns["cp"] <= 1, columns["pp"] > 1
    sensible = ~((zero > 0) & alone[row] | (zero > 1) & piped[row])
    removed["redundant"] = int((~sensible).sum())
    row, way = row[sensible], way[sensible]
    every = {name: column[row] for name, column in columns.items()} | {name: values[way] for name, values in zip(_WAYS, ways, strict=True)}
    return Layout(**every), {reason: n for reason, n in removed.items() if n}


def data_parallel_size(devices: Numeric, *, tp: Numeric = 1, pp: Numeric = 1, cp: Numeric = 1) -> Array:
    """Return devices/(tp·pp·cp): the data-parallel size that a layout leaves to follow from the machine. May be fractional."""
    return np.asarray(positive("devices", devices) / (whole("tp", tp) * whole("pp", pp) * whole("cp", cp)))[()]
