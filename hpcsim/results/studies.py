"""The tables of studies over many runs: replicates, sensitivities, uncertainty, comparisons."""

from __future__ import annotations

from hpcsim.results.columns import Table, count_column, real_column, text_column

__all__ = ["STUDIES"]

_INTERVALS = Table(
    "intervals",
    "What the replicates of a sweep say: mean and 95 % interval of every figure at every point, and of its difference from the first point.",
    (
        text_column("point", "Values of the axes, in their order."),
        text_column("metric", "Summary key, whose suffix is the unit of all that follows."),
        count_column("seeds", "Replicates that have the figure."),
        real_column("mean", "", "Mean over the seeds."),
        real_column("low", "", "Lower end of the 95 % interval of the mean (Student's t); null with one seed.", null=True),
        real_column("high", "", "Upper end.", null=True),
        real_column("difference", "", "Mean difference from the first point at equal seeds.", null=True),
        real_column("difference_low", "", "Lower end of its 95 % interval.", null=True),
        real_column("difference_high", "", "Upper end.", null=True),
    ),
)

STUDIES = (_INTERVALS,)
