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
    "EXTRAS",
    "ORDERS",
    "RECOMPUTE",
    "Groups",
    "Layout",
    "StageLayers",
    "data_parallel_size",
    "divisors",
    "groups",
    "kept_with",
    "order_code",
    "recompute_code",
    "space",
    "stage_layers",
    "validity",
]

UNKNOWN_ORDER = problem_kind(
    "layout-order", "unknown order of the devices {name!r}", "each of tp, cp, dp, pp once, the innermost first, such as tp-cp-dp-pp"
)
UNKNOWN_RECOMPUTE = problem_kind("unknown-recompute", "unknown recomputation {name!r}", "one of: {known}")
BAD_ZERO = problem_kind("zero-stage", "ZeRO has no stage {stage:g}", "0, 1, 2 or 3")

RECOMPUTE = ("none", "selective", "full")
"""Recomputation by code: nothing; what is cheap (the attention core where its scores would be kept, else norms and activations);
every layer from its input."""

_SIZES = ("dp", "tp", "pp", "vpp", "cp", "ep", "etp", "micro_batch", "replicate")
_FLAGS = ("sequence_parallel", "overlap", "offload", "cp_all_to_all", "offload_weights", "offload_activations")
_USUAL: Mapping[str, Any] = {
    "recompute_frac": 1.0,
    "replicate": 1.0,
    "cp_all_to_all": False,
    "offload_weights": False,
    "offload_activations": False,
    "order": 0,
}
"""Fields that a layout is shown without where they have these values."""

EXTRAS: tuple[str, ...] = tuple(_USUAL)
"""Fields that no search tries of itself."""

ORDERS: tuple[str, ...] = tuple("-".join(names) for names in itertools.permutations(("tp", "cp", "dp", "pp")))
"""Orders in which devices are numbered, the innermost dimension first, by code: ``"tp-cp-dp-pp"`` is 0."""


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


def order_code(order: object) -> npt.NDArray[np.int64]:
    """Return the code(s) of an order of :data:`ORDERS`, given by name or already by code.

    Raises
    ------
    InputError
        An unknown name.
    """
    values = np.asarray(order)
    if values.dtype.kind in "iuf" and ((values >= 0) & (values < len(ORDERS))).all():
        return values.astype(np.int64)
    out = np.zeros(values.shape, dtype=np.int64)
    for name in np.unique(values.astype(str)):
        if name not in ORDERS:
            raise UNKNOWN_ORDER.error(path="order", name=str(name))
        out[values.astype(str) == name] = ORDERS.index(name)
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
    replicate : int or array
        Groups of replicas that each hold all shards (hybrid sharding, HSDP): what ZeRO shards is gathered inside one group of
        dp·cp/replicate devices, and gradients are reduced between the groups once a step.
    cp_all_to_all : bool or array
        Context parallelism by exchanging heads for tokens (Ulysses) in place of passing keys and values around.
    offload_weights, offload_activations : bool or array
        Weights and gradients, and what layers keep for the backward pass, in the host's memory, streamed in and out beside the work.
    order : str, int or array
        Numbering of the devices, see :data:`ORDERS`: the inner dimensions share a scale-up domain.
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
    replicate: Numeric = 1
    cp_all_to_all: Numeric = False
    offload_weights: Numeric = False
    offload_activations: Numeric = False
    order: Any = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "recompute_frac", fraction("recompute_frac", self.recompute_frac))
        for name in _SIZES:
            object.__setattr__(self, name, whole(name, getattr(self, name), low=0 if name == "etp" else 1))
        stage = at_least("zero_stage", self.zero_stage, 0)
        if ((stage > 3) | (stage != np.floor(stage))).any():
            raise BAD_ZERO.error(path="zero_stage", stage=float(np.max(stage)))
        object.__setattr__(self, "zero_stage", stage)
        object.__setattr__(self, "recompute", recompute_code(self.recompute))
        code = schedule_code(self.schedule)
        interleaved = SCHEDULES.index("interleaved")
        code = np.where((code == SCHEDULES.index("1f1b")) & (self.vpp > 1), interleaved, code)
        code = np.where((code == interleaved) & (self.vpp <= 1), SCHEDULES.index("1f1b"), code)
        object.__setattr__(self, "schedule", code)
        object.__setattr__(self, "order", order_code(self.order))
        for name in _FLAGS:
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=bool))
        object.__setattr__(self, "etp", np.where(self.etp > 0, self.etp, np.where(self.ep > 1, 1, self.tp)))
        shape = broadcast(*(getattr(self, item.name) for item in fields(self)))
        object.__setattr__(self, "_shape", shape)

    @classmethod
    def of_columns(cls, columns: Mapping[str, npt.NDArray[Any]]) -> Layout:
        """Return the layouts whose fields, all of them, are as another layout holds them: checked, with codes in place of names."""
        made = object.__new__(cls)
        shape = np.broadcast_shapes(*(np.shape(column) for column in columns.values()))
        for name, column in columns.items():
            object.__setattr__(made, name, np.array(np.broadcast_to(column, shape)) if name == "tp" else np.asarray(column))
        object.__setattr__(made, "_shape", shape)
        return made

    @property
    def shape(self) -> tuple[int, ...]:
        """Common shape of the fields; () for one layout."""
        return self._shape  # type: ignore[attr-defined, no-any-return]

    @property
    def devices(self) -> Array:
        """Devices the layout takes: dp·tp·pp·cp."""
        return np.asarray(self.dp * self.tp * self.pp * self.cp)

    @property
    def shards(self) -> Array:
        """Devices over which ZeRO shards what is not an expert's: dp·cp/replicate."""
        return np.asarray(np.maximum(self.dp * self.cp / self.replicate, 1.0))

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return every field as an array of the common shape."""
        return {item.name: self.column(item.name) for item in fields(self)}

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return one field as an array of the common shape."""
        value: npt.NDArray[Any] = getattr(self, name)
        return value if value.shape == self.shape else np.broadcast_to(value, self.shape)

    def take(self, index: Any) -> Layout:
        """Return the layouts at ``index``: a mask, indices, a slice or one number."""
        if not self.shape:
            return Layout(**{name: column[index] for name, column in self.columns().items()})
        taken = object.__new__(Layout)
        for item in fields(self):
            value = getattr(self, item.name)
            shared = value.ndim == 0 and item.name != "tp"
            object.__setattr__(taken, item.name, value if shared else np.asarray(self.column(item.name)[index]))
        object.__setattr__(taken, "_shape", taken.tp.shape)
        return taken

    def row(self, index: int | tuple[int, ...] = ()) -> dict[str, Any]:
        """Return one layout as plain values, with names for recomputation and schedule."""
        out: dict[str, Any] = {}
        for name, column in self.columns().items():
            value = column[index].item()
            if name in _USUAL and value == _USUAL[name]:
                continue
            if name == "order":
                value = ORDERS[value]
            elif name == "recompute":
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


def _rest(a: Numeric, b: Numeric) -> Array:
    """Return a mod b of whole numbers, several times faster than ``numpy.mod``; exact while a·b is below 2⁵²."""
    return np.asarray(a - b * np.floor(a / b))


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
    divides = _rest(n, chunks) == 0
    units = n + 2.0
    base = np.floor(units / chunks)
    left = units - chunks * base
    per_stage = np.floor(left / p)
    over = left - p * per_stage
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
        (members, members that share a domain). ``data`` shards and reduces dense gradients (over dp·cp/replicate), ``expert_data`` the
        experts'.
    outer : tuple of array
        Groups of replicas that each hold all shards, and how many of them share a domain.
    stages_cross : bool or array
        Some pipeline boundary leaves the domain.
    """

    tensor: tuple[Array, Array]
    context: tuple[Array, Array]
    expert: tuple[Array, Array]
    data: tuple[Array, Array]
    expert_data: tuple[Array, Array]
    outer: tuple[Array, Array]
    stages_cross: npt.NDArray[np.bool_]


def _strides(layout: Layout) -> dict[str, Array]:
    """Devices between two neighbours of each dimension."""
    size = {name: np.asarray(getattr(layout, name)) for name in ("tp", "cp", "dp", "pp")}
    out = {name: np.ones(()) for name in size}
    codes = np.asarray(layout.order)
    for code in np.unique(codes):
        stride: Array = np.ones(())
        for name in ORDERS[int(code)].split("-"):
            out[name] = np.where(codes == code, stride, out[name])
            stride = stride * size[name]
    return out


def groups(layout: Layout, domain: Numeric) -> Groups:
    """Return the groups of a layout on scale-up domains of ``domain`` devices, filled in the layout's order."""
    tp, cp, ep, etp = layout.tp, layout.cp, layout.ep, layout.etp
    data = layout.shards
    expert_data = np.maximum(np.floor(layout.dp * cp * tp / (ep * etp) / layout.replicate), 1.0)

    def group(size: Array, stride: Array) -> tuple[Array, Array]:
        return size, members_in_domain(size, stride, domain)

    if not np.any(layout.order):
        one, last = np.ones_like(tp), layout.devices / layout.pp
        near = {"tp": one, "cp": tp, "dp": tp * cp, "data": tp, "pp": last}
    else:
        near = _strides(layout)
        near["data"] = np.where(cp > 1, np.minimum(near["cp"], near["dp"]), near["dp"])
    beside = near["tp"] > 1.0
    return Groups(
        tensor=group(tp, near["tp"]),
        context=group(cp, near["cp"]),
        expert=group(ep, np.where(beside, near["data"], etp)),
        data=group(data, near["data"]),
        expert_data=group(expert_data, np.where(beside, near["data"] * ep, ep * etp)),
        outer=group(layout.replicate, near["data"] * data),
        stages_cross=np.asarray((layout.pp > 1) & (layout.pp * near["pp"] > np.asarray(domain, float))),
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
        ``world-size``, ``batch``, ``interleaving``, ``replicas``, ``layers``, ``heads``, ``kv-heads``, ``experts``, ``sequence``: true
        where that rule is broken. A layout may break several.
    """
    count, batch = positive("devices", devices), positive("global_batch", global_batch)
    micro = layout.dp * layout.micro_batch
    m = batch / micro
    reasons: dict[str, npt.NDArray[np.bool_]] = {
        "world-size": np.asarray(layout.devices != count),
        "batch": np.asarray(_rest(batch, micro) != 0),
        "interleaving": np.asarray((layout.vpp > 1) & ((layout.pp <= 1) | (_rest(m, layout.pp) != 0))),
        "sequence-parallel": np.asarray(layout.sequence_parallel & (layout.tp <= 1)),
        "experts": np.asarray(_rest(layout.dp * layout.cp * layout.tp, layout.ep * layout.etp) != 0),
        "replicas": np.asarray((_rest(layout.dp * layout.cp, layout.replicate) != 0) | ((layout.replicate > 1) & (layout.zero_stage < 1))),
    }
    if sequence is not None:
        share = np.where(layout.sequence_parallel, layout.tp, 1.0) * layout.cp
        reasons["sequence"] = np.asarray(_rest(positive("sequence", sequence), share) != 0)
    if model is not None:
        kv = np.where(model.latent, model.heads, model.kv_heads)
        fits_kv = (_rest(kv, layout.tp) == 0) | (_rest(layout.tp, kv) == 0)
        reasons["layers"] = ~np.asarray(stage_layers(model.all_layers, layout.pp, layout.vpp).possible)
        reasons["heads"] = np.asarray(_rest(model.heads, layout.tp * np.where(layout.cp_all_to_all, layout.cp, 1.0)) != 0)
        reasons["kv-heads"] = ~np.asarray(fits_kv)
        no_experts = (model.experts <= 0) & (layout.ep > 1)
        reasons["experts"] |= np.asarray(no_experts | ((model.experts > 0) & (_rest(model.experts, layout.ep) != 0)))
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


def kept_with(
    layouts: Layout, model: Model, extra: Mapping[str, Any], *, devices: int, global_batch: int, sequence: int
) -> tuple[Layout, int]:
    """Return the layouts with some fields set for all of them, those left out that then cannot be, and how many these are.

    Parameters
    ----------
    layouts : Layout
        An array of them.
    extra : mapping of str to value
        Fields of a layout, such as ``replicate`` or ``cp_all_to_all``.
    """
    made = Layout(**{**layouts.columns(), **extra})
    ok, _ = validity(made, model, devices=devices, global_batch=global_batch, sequence=sequence)
    keep = np.broadcast_to(ok, made.shape)
    return made.take(keep), int((~keep).sum())


def data_parallel_size(devices: Numeric, *, tp: Numeric = 1, pp: Numeric = 1, cp: Numeric = 1) -> Array:
    """Return devices/(tp·pp·cp): the data-parallel size that a layout leaves to follow from the machine. May be fractional."""
    return np.asarray(positive("devices", devices) / (whole("tp", tp) * whole("pp", pp) * whole("cp", cp)))[()]
