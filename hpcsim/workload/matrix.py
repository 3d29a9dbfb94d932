"""C = A·B with the rows of A spread over ranks: the partition, its proof on numbers, and its time.

The rows go to the ranks as evenly as possible, what is left over to the first ranks, so the gather takes uneven counts. The listing in
the articles gives every rank ``rows // ranks`` rows and the first ranks one more, but neither moves the start rows by it nor gathers
uneven counts; it is kept here as :func:`printed_partition` and :func:`multiply_as_printed` to show what goes wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import problem_kind
from hpcsim.base.units import readable
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cost.collectives import algorithms, textbook
from hpcsim.cost.laws import distributed
from hpcsim.scenario.workload import MatrixProductSpec
from hpcsim.workload.tasks import NO_FABRIC, PARTS_LIMIT, TOO_MANY_PARTS, TaskPlan

__all__ = [
    "ELEMENT_BYTES",
    "Coverage",
    "Partition",
    "coverage",
    "multiply",
    "multiply_as_printed",
    "partition",
    "plan_matrix",
    "printed_partition",
]

IntArray = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float64]

NO_RANKS = problem_kind("matrix-size", "{what} must be at least {least}; here {value}", "give a whole number of at least {least}")
SHAPES = problem_kind(
    "matrix-shapes", "matrices of shapes {a} and {b} have no product", "the columns of the first must be as many as the rows of the second"
)
TOO_MANY_RANKS = problem_kind(
    "too-many-ranks", "{ranks} ranks, one a node, are more than the {count} nodes of {name!r}", "at most {count} ranks, or more nodes"
)
NEEDS_GROUP = problem_kind(
    "node-group-needed", "the cluster has several node groups, and {what} runs on one", "add {path}, one of: {names}"
)
MATRIX_MEMORY = problem_kind(
    "matrix-memory",
    "{what} holds {need} of matrices, {more} more than a node of {name!r} has",
    "at least {need} of main memory, smaller matrices, or more ranks where it is not the first",
)

ELEMENT_BYTES = {
    "fp64": 8.0, "fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "mxfp8": 1.0, "int8": 1.0, "fp4": 0.5, "nvfp4": 0.5,
}  # fmt: skip
"""Size of a matrix element [B]; the scale factors of block formats left out."""


class Partition(NamedTuple):
    """Rows by rank."""

    starts: IntArray
    """First row of each rank, shape (ranks,)."""
    counts: IntArray
    """Rows of each rank, shape (ranks,)."""


def _at_least(what: str, value: int, least: int) -> None:
    if value < least:
        raise NO_RANKS.error(what=what, least=least, value=value)


def partition(rows: int, ranks: int) -> Partition:
    """Return contiguous rows for each rank, as even as possible: ``rows // ranks`` each, and one more for the first ``rows % ranks``.

    Starts are the running sum of the counts; they are also the displacements of the gather.

    Raises
    ------
    InputError
        Negative rows, or no rank.

    Examples
    --------
    >>> p = partition(10, 4)
    >>> p.starts.tolist(), p.counts.tolist()
    ([0, 3, 6, 8], [3, 3, 2, 2])
    """
    _at_least("rows", rows, 0)
    _at_least("ranks", ranks, 1)
    share, left = divmod(rows, ranks)
    counts = share + (np.arange(ranks, dtype=np.int64) < left)
    return Partition(np.cumsum(counts) - counts, counts)


def printed_partition(rows: int, ranks: int) -> Partition:
    """Return the rows that the articles' listing gives each rank: wrong wherever the ranks do not divide the rows.

    The counts are those of :func:`partition`, but rank r starts at row ``r · (rows // ranks)``, as if nobody had a row more.

    Raises
    ------
    InputError
        Negative rows, or no rank.

    Examples
    --------
    >>> p = printed_partition(10, 4)
    >>> p.starts.tolist(), p.counts.tolist()
    ([0, 2, 4, 6], [3, 3, 2, 2])
    """
    counts = partition(rows, ranks).counts
    return Partition(np.arange(ranks, dtype=np.int64) * (rows // ranks), counts)


class Coverage(NamedTuple):
    """How often a partition computes each row."""

    never: IntArray
    """Rows that nobody computes."""
    repeated: IntArray
    """Rows that more than one rank computes."""


def coverage(rows: int, parts: Partition) -> Coverage:
    """Return which rows a partition misses and which it computes more than once.

    >>> seen = coverage(10, printed_partition(10, 4))
    >>> seen.never.tolist(), seen.repeated.tolist()
    ([8, 9], [2, 4])
    """
    times = np.zeros(rows, dtype=np.int64)
    for start, count in zip(parts.starts, parts.counts):
        times[start : start + count] += 1
    return Coverage(np.flatnonzero(times == 0), np.flatnonzero(times > 1))


def _checked(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Matrix, Matrix]:
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise SHAPES.error(a=left.shape, b=right.shape)
    return left, right


def multiply(a: npt.ArrayLike, b: npt.ArrayLike, ranks: int) -> Matrix:
    """Multiply as the ranks would: broadcast B, scatter rows of A, local products, gather with uneven counts and displacements.

    Runs in this process, one rank after another; ranks without rows take part with nothing.

    Parameters
    ----------
    a, b : array, shapes (rows, inner) and (inner, columns)
        The matrices.
    ranks : int
        Ranks, at least 1; may exceed the rows.

    Returns
    -------
    array, shape (rows, columns)
        The product.

    Raises
    ------
    InputError
        Shapes that have no product, or no rank.
    """
    left, right = _checked(a, b)
    starts, counts = partition(left.shape[0], ranks)
    sent = [left[start : start + count] @ right for start, count in zip(starts, counts)]
    gathered = np.empty((left.shape[0], right.shape[1]))
    for rank, local in enumerate(sent):
        gathered[starts[rank] : starts[rank] + counts[rank]] = local
    return gathered


def multiply_as_printed(a: npt.ArrayLike, b: npt.ArrayLike, ranks: int) -> Matrix:
    """Multiply as the articles' listing does, to show what goes wrong; never used for a result.

    Each rank multiplies the rows of :func:`printed_partition`, and the gather takes ``rows // ranks`` rows from every rank, one behind
    the other. Rows that do not arrive are NaN.

    Raises
    ------
    InputError
        As :func:`multiply`.
    """
    left, right = _checked(a, b)
    rows = left.shape[0]
    starts, counts = printed_partition(rows, ranks)
    uniform = rows // ranks
    gathered = np.full((rows, right.shape[1]), np.nan)
    for rank in range(ranks):
        local = left[starts[rank] : starts[rank] + counts[rank]] @ right
        gathered[rank * uniform : (rank + 1) * uniform] = local[:uniform]
    return gathered


def _group(name: str, spec: MatrixProductSpec, cluster: Cluster) -> NodeGroup:
    path = f"workload.matrix_products.{name}.nodes"
    if spec.nodes is not None:
        return cluster.group(spec.nodes, path)
    if len(cluster.groups) > 1:
        raise NEEDS_GROUP.error(path=path, what="a matrix product", names=", ".join(cluster.groups))
    return next(iter(cluster.groups.values()))


def _check_memory(path: str, group: NodeGroup, spec: MatrixProductSpec, most_rows: int) -> None:
    """Refuse matrices that do not fit: the first rank holds all of A, B and C, the others B and their rows of A and C."""
    if group.memory_bytes is None:
        return
    size = ELEMENT_BYTES[spec.precision]
    whole = size * (spec.rows * spec.inner + spec.inner * spec.columns + spec.rows * spec.columns)
    part = size * (most_rows * (spec.inner + spec.columns) + spec.inner * spec.columns)
    for what, need in (("a rank", part), ("the first rank", whole)):
        if need > group.memory_bytes:
            more = readable(need - group.memory_bytes, "data size")
            raise MATRIX_MEMORY.error(path=path, what=what, need=readable(need, "data size"), more=more, name=group.name)


def _collective_s(collective: str, size_bytes: float, ranks: int, bytes_per_s: float, latency_s: float) -> float:
    """Return the time by the best textbook algorithm, as an MPI library chooses by size [s]."""
    forms = algorithms(collective)
    return float(
        min(textbook(collective, size_bytes, ranks, bytes_per_s=bytes_per_s, latency_s=latency_s, algorithm=form) for form in forms)
    )


def plan_matrix(name: str, spec: MatrixProductSpec, cluster: Cluster) -> TaskPlan:
    """Plan a row-partitioned matrix product, one rank a node.

    Dispatch is the broadcast of B and, after it, the scatter of A from the first rank; run the local products, 2·rows·inner·columns
    FLOP in all at the node's sustained rate; merge the gather of C. The collectives take the best textbook time over the node's ports
    and the fabric's latency; uneven counts are timed by what the first rank really sends and takes: all but its own rows.

    Parameters
    ----------
    name : str
        Name of the product in the scenario.
    spec : MatrixProductSpec
        Sizes, ranks, precision.
    cluster : Cluster
        Where it runs.

    Returns
    -------
    TaskPlan
        ``share_bytes`` are the rows of A that a rank gets and B; ranks without rows have no work.

    Raises
    ------
    InputError
        Unknown group, more ranks than nodes, matrices that do not fit, no rate in the precision, no fabric.
    """
    path = f"workload.matrix_products.{name}"
    group = _group(name, spec, cluster)
    if spec.ranks > group.count:
        raise TOO_MANY_RANKS.error(path=f"{path}.ranks", ranks=spec.ranks, count=group.count, name=group.name)
    if spec.ranks > PARTS_LIMIT:
        raise TOO_MANY_PARTS.error(path=f"{path}.ranks", parts=spec.ranks, limit=PARTS_LIMIT)
    if spec.ranks > 1 and cluster.fabric is None:
        raise NO_FABRIC.error(path=f"{path}.ranks", what="a product over several ranks")
    counts = partition(spec.rows, spec.ranks).counts.astype(np.float64)
    _check_memory(path, group, spec, int(counts[0]))
    size, speed = ELEMENT_BYTES[spec.precision], group.speed_flop_per_s(spec.precision)
    b_bytes = size * spec.inner * spec.columns
    dispatch_s = merge_s = 0.0
    if spec.ranks > 1 and cluster.fabric is not None:
        rate, latency_s = group.injection_bytes_per_s, cluster.fabric.latency_s
        # the textbook forms move (p-1)/p of the buffer; p/(p-1) times the rows that leave the first rank makes that exact
        moved_rows = (spec.rows - counts[0]) * spec.ranks / (spec.ranks - 1)
        dispatch_s = _collective_s("broadcast", b_bytes, spec.ranks, rate, latency_s)
        dispatch_s += _collective_s("scatter", size * spec.inner * moved_rows, spec.ranks, rate, latency_s)
        merge_s = _collective_s("gather", size * spec.columns * moved_rows, spec.ranks, rate, latency_s)
    work = 2.0 * counts * spec.inner * spec.columns
    own = size * spec.inner * counts + b_bytes
    notes = (
        ()
        if group.given_speed_flop_per_s is not None
        else (f"The speed of a node of {group.name} is the sustained {spec.precision} rate of its devices.",)
    )
    return TaskPlan(
        name=name,
        kind="matrix-product",
        groups=((group.name, spec.ranks),),
        speed_flop_per_s=np.full(spec.ranks, speed),
        share_bytes=own,
        work_flop=work,
        port_bytes_per_s=np.full(spec.ranks, group.injection_bytes_per_s),
        submit_s=spec.submit,
        dispatch_s=dispatch_s,
        merge_s=merge_s,
        merge_flow_s=merge_s,
        data_bytes=size * spec.inner * (spec.rows + spec.columns),
        result_bytes=size * spec.rows * spec.columns,
        partition="rows",
        laws=(distributed(speed, spec.ranks, c=float(work.sum())),),
        notes=notes,
    )
