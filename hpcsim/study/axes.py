"""The points of a sweep: axes, their values, and the designs that combine them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError, Problem, problem_kind
from hpcsim.base.rng import stream
from hpcsim.scenario.load import Scenario, parse_setting
from hpcsim.scenario.ranges import Range, is_range, parse_range

if TYPE_CHECKING:
    from hpcsim.base.errors import ProblemKind

__all__ = ["DESIGNS", "Axis", "Design", "axes_of", "combinations", "parse_axis", "unit_points"]

NO_AXES = problem_kind("sweep-without-axes", "there is nothing to vary", "give --axis KEY=V1,V2,…, or a sweep section in the scenario")
BAD_AXIS = problem_kind(
    "bad-axis", "{text!r} is no axis", "write KEY=V1,V2,…, for example cluster.nodes.gpu.count=24,48,96, or KEY=24..96:24"
)
AXIS_TWICE = problem_kind("axis-twice", "the axis {path!r} is given twice", "give all its values in one axis")
SEED_AXIS = problem_kind("axis-of-seeds", "the seed is no axis", "give --seeds K for replicates with the seeds that follow simulate.seed")
PAIRED_AXIS = problem_kind(
    "paired-axis",
    "{value!r} is no row of the axis {path!r}",
    "its values are lists of {count}, one for each path: KEY1,KEY2=[V1,W1],[V2,W2]",
)
OPEN_RANGE = problem_kind(
    "open-range",
    "the range {text!r} of {path!r} names no values",
    "add a step (a..b:step), or a number of values (lin:a..b:n, log:a..b:n), or --design",
)
NO_SCIPY = problem_kind("no-scipy", "{what} needs scipy", "pip install 'hpcsim-planner[stats]'")
TOO_MANY = problem_kind("sweep-too-large", "the sweep has {points} points; at most {most} are run", "take fewer values, or fewer seeds")

MOST_POINTS = 1_000_000
Design = Literal["grid", "random", "sobol", "halton"]
DESIGNS: tuple[str, ...] = ("grid", "random", "sobol", "halton")


@dataclass(frozen=True)
class Axis:
    """One varied value, or several that go together.

    Attributes
    ----------
    path : str
        Dotted path; several with commas between for values that go together.
    values : tuple
        The values it takes; with several paths a list of one value each.
    span : Range, optional
        The range that the values came from; designs other than the grid fill it.
    """

    path: str
    values: tuple[Any, ...]
    span: Range | None = None

    @property
    def paths(self) -> list[str]:
        """The single paths."""
        return [part.strip() for part in self.path.split(",")]

    def changes(self, value: Any) -> dict[str, Any]:
        """Return the changes that one value stands for."""
        paths = self.paths
        return {paths[0]: value} if len(paths) == 1 else dict(zip(paths, value, strict=True))

    def at(self, share: float) -> Any:
        """Return the value at a share of 0 to 1 of the axis."""
        if self.span is not None and self.span.step is None:
            return self.span.at(share, spread=True)
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


def _expanded(path: str, values: Iterable[Any]) -> Axis:
    """Return an axis whose texts that are ranges are written out."""
    found: list[Any] = []
    spans: list[Range] = []
    for value in values:
        if is_range(value):
            spans.append(parse_range(value))
            found += spans[-1].values()
        else:
            found.append(value)
    return Axis(path, tuple(found), spans[0] if len(spans) == 1 and len(found) == len(spans[0].values()) else None)


def parse_axis(text: str) -> Axis:
    """Read ``KEY=V1,V2,…``; a value may be a quantity (``"100 Gbit/s"``), a range (``24..96:24``) or, in brackets, a list.

    >>> parse_axis("cluster.nodes.gpu.count=24,48").values
    (24, 48)
    >>> parse_axis("cluster.nodes.gpu.count=24..96:24").values
    (24, 48, 72, 96)
    >>> parse_axis("a.count,b.count=[1,2],[3,4]").paths
    ['a.count', 'b.count']
    """
    key, equals, rest = text.partition("=")
    if not equals or not key.strip() or not rest.strip():
        raise BAD_AXIS.error(text=text)
    _, values = parse_setting(f"{key}=[{rest}]")
    if not isinstance(values, list) or not values:
        raise BAD_AXIS.error(text=text)
    return _expanded(key.strip(), values)


def axes_of(
    scenario: Scenario, axes: Mapping[str | tuple[str, ...], Sequence[Any] | str] | Iterable[Axis] | None, design: str = "grid"
) -> list[Axis]:
    """Return the axes that are asked for, else those of the scenario's ``sweep`` section.

    Raises
    ------
    InputError
        None, one without values or given twice, the seed as axis, a paired value that is no row, a range without step in a grid.
    """
    if isinstance(axes, Mapping):
        found = [_named(path, values) for path, values in axes.items()]
    else:
        found = [_named(axis.path, axis.values) if axis.span is None else axis for axis in axes or ()]
    found = found or [_named(path, values) for path, values in scenario.sweep.items()]
    if not found or any(not axis.values for axis in found):
        raise NO_AXES.error()
    problems = list(_faults(found, design))
    if problems:
        raise InputError(problems)
    return found


def _named(path: str | tuple[str, ...], values: Sequence[Any] | str) -> Axis:
    name = path if isinstance(path, str) else ", ".join(path)
    if isinstance(values, str):
        if not is_range(values):
            raise BAD_AXIS.error(text=f"{name}={values}")
        return _expanded(name, [values])
    return _expanded(name, values)


def _faults(axes: list[Axis], design: str) -> Iterator[Problem]:
    paths = [path for axis in axes for path in axis.paths]
    for path in dict.fromkeys(paths):
        if paths.count(path) > 1:
            yield AXIS_TWICE(path=path)
        if path == "simulate.seed":
            yield SEED_AXIS(path=path)
    for axis in axes:
        count = len(axis.paths)
        if count > 1:
            for value in axis.values:
                if not isinstance(value, (list, tuple)) or len(value) != count:
                    yield PAIRED_AXIS(value=value, path=axis.path, count=count)
        elif design == "grid" and axis.span is not None and not axis.span.bounded:
            yield OPEN_RANGE(text=f"{axis.span.low}..{axis.span.high} {axis.span.unit}".strip(), path=axis.path)


def scipy_stats(what: str) -> Any:
    """Return ``scipy.stats``, or say what needs it."""
    try:
        import scipy.stats
    except ImportError:
        kind: ProblemKind = NO_SCIPY
        raise kind.error(what=what) from None
    return scipy.stats


def unit_points(design: str, count: int, dimensions: int, seed: int) -> npt.NDArray[np.float64]:
    """Return points of the unit cube, shape (count, dimensions): independent, or spread evenly (Sobol scrambled, Halton scrambled).

    Equal arguments give equal points; the first points of a longer design are those of a shorter one.
    """
    rng = stream(seed, "design", design)
    if design == "random":
        return rng.random((count, dimensions))
    qmc = scipy_stats(f"the design {design}").qmc
    kind = qmc.Sobol if design == "sobol" else qmc.Halton
    engine = kind(dimensions, scramble=True, seed=int(rng.integers(2**31)))
    points: npt.NDArray[np.float64]
    if design == "sobol":
        points = engine.random_base2(max(count - 1, 1).bit_length() if count > 1 else 0)[:count]  # whole powers of two are balanced
    else:
        points = engine.random(count)
    return points


def combinations(axes: list[Axis], design: str, points: int, seed: int) -> list[dict[str, Any]]:
    """Return the changes of every point, in order.

    Parameters
    ----------
    axes : list of Axis
    design : {"grid", "random", "sobol", "halton"}
        Every combination, or ``points`` of them drawn from the axes: a range is filled between its ends (a whole-numbered one with
        equal chances), a list by its values.
    points, seed : int
        Size and seed of a drawn design.
    """
    if design == "grid":
        count = 1
        for axis in axes:
            count *= len(axis.values)
        if count > MOST_POINTS:
            raise TOO_MANY.error(points=count, most=MOST_POINTS)
        chosen: Iterable[Sequence[Any]] = itertools.product(*(axis.values for axis in axes))
    else:
        if points > MOST_POINTS:
            raise TOO_MANY.error(points=points, most=MOST_POINTS)
        chosen = [[axis.at(float(u)) for axis, u in zip(axes, row)] for row in unit_points(design, points, len(axes), seed)]
    return [{path: v for axis, value in zip(axes, values) for path, v in axis.changes(value).items()} for values in chosen]
