"""How fast a job of a given kind is on any number of processors: the laws of jobs that may change size, and the goodput of training.

References: G. M. Amdahl, AFIPS 1967; A. B. Downey, "A model for speedup of parallel programs", UC Berkeley CSD-97-933, 1997, and "A parallel workload
model and its implications for processor allocation", HPDC 1997; A. Qiao et al., "Pollux: co-adaptive cluster scheduling for goodput-optimized deep
learning", OSDI 2021; S. McCandlish et al., "An empirical model of large-batch training", 2018 (gradient noise scale).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, at_least, broadcast, fraction, non_negative, positive
from hpcsim.cost.scaling import amdahl

__all__ = ["AmdahlLaw", "DowneyLaw", "SpeedLaw", "TableLaw", "downey", "goodput", "statistical_efficiency"]

BAD_TABLE = problem_kind(
    "speedup-table", "the table of speeds {why}", "processors ascending, with a speed above 0 for each, such as 1: 1, 2: 1.9, 4: 3.5"
)


def downey(n: Numeric, *, parallelism: Numeric, variance: Numeric) -> Array:
    """Return the speed-up of Downey's model of a parallel program.

    With A the average parallelism and σ the variance in it, for σ ≤ 1::

        A·n/(A + σ/2·(n−1))               1 ≤ n ≤ A
        A·n/(σ·(A − 1/2) + n·(1 − σ/2))   A ≤ n ≤ 2A − 1
        A                                 beyond

    and for σ ≥ 1::

        n·A·(σ+1)/(σ·(n + A − 1) + A)     1 ≤ n ≤ A + A·σ − σ
        A                                 beyond

    Assumes that the parallelism of the program has one of two profiles of a single shape; σ = 0 is linear speed-up to A processors.

    Parameters
    ----------
    n : float or array
        Processors, at least 1.
    parallelism : float or array
        A, at least 1: the most that the speed-up can be.
    variance : float or array
        σ, at least 0; 1 and 2 are moderate.

    Examples
    --------
    >>> downey([1, 8, 64], parallelism=16, variance=0.0).tolist(), round(float(downey(16, parallelism=16, variance=1.0)), 3)
    ([1.0, 8.0, 16.0], 10.894)
    """
    n, a, s = at_least("n", n, 1), at_least("parallelism", parallelism, 1), non_negative("variance", variance)
    broadcast(n, a, s)
    t = np.minimum(s, 1.0)
    low = np.where(n <= a, a * n / (a + t / 2.0 * (n - 1.0)), a * n / (t * (a - 0.5) + n * (1.0 - t / 2.0)))
    low = np.where(n >= 2.0 * a - 1.0, a, low)
    high = np.where(n >= a + a * s - s, a, n * a * (s + 1.0) / (s * (n + a - 1.0) + a))
    return np.asarray(np.where(s <= 1.0, low, high))[()]


def statistical_efficiency(batch: Numeric, *, base_batch: Numeric, noise_scale: Numeric) -> Array:
    """Return how far an example takes training at a batch size, over that at the base batch: (φ + m0)/(φ + m).

    φ is the gradient noise scale, in examples: below it a larger batch saves nearly as many steps as it costs examples; above it, examples are wasted.
    Assumes that the learning rate is adapted to the batch, and one φ for the whole run, though it grows as training goes on.

    >>> statistical_efficiency([256, 2304], base_batch=256, noise_scale=1792).tolist()
    [1.0, 0.5]
    """
    m, m0, phi = positive("batch", batch), positive("base_batch", base_batch), non_negative("noise_scale", noise_scale)
    broadcast(m, m0, phi)
    return np.asarray((phi + m0) / (phi + m))[()]


def goodput(throughput: Numeric, batch: Numeric, *, base_batch: Numeric, noise_scale: Numeric) -> Array:
    """Return the goodput of training: throughput × statistical efficiency, in examples of the base batch per second.

    Parameters
    ----------
    throughput : array, shape (…, batches) [1/s]
        Examples per second at each batch size.
    batch : array, shape (batches,)
        Batch sizes.
    base_batch, noise_scale : float
        As of :func:`statistical_efficiency`.

    Returns
    -------
    array, shape (…)
        The most over the batch sizes.

    Examples
    --------
    Twice the batch brings 1.8 times the throughput, of which 5/6 count where the noise scale is four base batches:

    >>> round(float(goodput([100.0, 180.0], [64, 128], base_batch=64, noise_scale=256)), 3)
    150.0
    """
    rate = non_negative("throughput", throughput)
    counted = rate * statistical_efficiency(batch, base_batch=base_batch, noise_scale=noise_scale)
    return np.asarray(np.max(np.atleast_1d(counted), axis=-1))[()]


class SpeedLaw(Protocol):
    """How fast a job is on so many processors. Only the ratios of speeds count."""

    def speed(self, processors: Numeric, /) -> Array:
        """Return the speed on so many processors, at least 1."""

    def range(self) -> tuple[float, float]:
        """Return the fewest and the most processors for which it stands."""


@dataclass(frozen=True, slots=True)
class AmdahlLaw:
    """A share of the work that one processor must do alone, and a rest that divides perfectly."""

    serial_frac: float

    def __post_init__(self) -> None:
        fraction("serial_frac", self.serial_frac)

    def speed(self, processors: Numeric, /) -> Array:
        """Return 1/(s + (1 − s)/n)."""
        return amdahl(1.0 - self.serial_frac, processors)

    def range(self) -> tuple[float, float]:
        """Return any number of processors."""
        return 1.0, np.inf


@dataclass(frozen=True, slots=True)
class DowneyLaw:
    """Downey's model with average parallelism A and variance σ; see :func:`downey`."""

    parallelism: float
    variance: float

    def __post_init__(self) -> None:
        at_least("parallelism", self.parallelism, 1)
        non_negative("variance", self.variance)

    def speed(self, processors: Numeric, /) -> Array:
        """Return :func:`downey`."""
        return downey(processors, parallelism=self.parallelism, variance=self.variance)

    def range(self) -> tuple[float, float]:
        """Return any number of processors."""
        return 1.0, np.inf


@dataclass(frozen=True, slots=True)
class TableLaw:
    """Measured or computed speeds, straight lines between them; nothing is said beyond its ends.

    Attributes
    ----------
    processors : tuple of float
        Ascending, at least 1.
    speeds : tuple of float
        Above 0, in any unit.
    """

    processors: tuple[float, ...]
    speeds: tuple[float, ...]

    def __post_init__(self) -> None:
        sizes, speeds = self.processors, self.speeds
        if not sizes or len(sizes) != len(speeds):
            raise BAD_TABLE.error(path="table", why=f"has {len(sizes)} sizes and {len(speeds)} speeds")
        if not sizes[0] >= 1 or any(not a < b for a, b in itertools.pairwise(sizes)) or not sizes[-1] < np.inf:
            raise BAD_TABLE.error(path="table", why="has sizes that do not ascend from 1 or more")
        if any(not 0 < speed < np.inf for speed in speeds):
            raise BAD_TABLE.error(path="table", why="has a speed that is not above 0")

    def speed(self, processors: Numeric, /) -> Array:
        """Return the speed by straight lines between the table's sizes, and that of its ends beyond."""
        return np.asarray(np.interp(at_least("processors", processors, 1), self.processors, self.speeds))[()]

    def range(self) -> tuple[float, float]:
        """Return the ends of the table."""
        return float(self.processors[0]), float(self.processors[-1])
