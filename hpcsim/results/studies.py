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

_SWEEP_RANGES = Table(
    "sweep_ranges",
    "The 80 % ranges of the figures of a sweep's points, where a point has them: what hpcsim's own predictions may be off by.",
    (
        count_column("row", "Row of the table sweep, the first is 0."),
        text_column("metric", "Summary key, whose suffix is the unit of low and high."),
        real_column("low", "", "Lower end."),
        real_column("high", "", "Upper end."),
    ),
)

_COMPARE_INPUTS = Table(
    "compare_inputs",
    "Inputs that differ between the scenarios of a comparison.",
    (
        text_column("path", "Dotted path in the scenario; for a fact of the catalog also its field."),
        text_column("kind", "Whether the scenario gives the value or the catalog.", values=("given", "catalog")),
        text_column("scenario", "Which scenario."),
        text_column("value", "Its value; null where it has none.", null=True),
    ),
)

_COMPARE_FIGURES = Table(
    "compare_figures",
    "Every figure of the scenarios of a comparison, and how far it is from the first scenario's.",
    (
        text_column("metric", "Summary key, whose suffix is the unit of value, change, low and high."),
        text_column("scenario", "Which scenario."),
        real_column("value", "", "The figure.", null=True),
        real_column("change", "", "Difference from the first scenario.", null=True),
        real_column("change_frac", "1", "The same as a share of the first scenario's figure.", null=True),
        real_column("low", "", "Lower end of the figure's 80 % interval; null where it has none.", null=True),
        real_column("high", "", "Upper end.", null=True),
    ),
)

_COMPARE_TERMS = Table(
    "compare_terms",
    "The terms that explain a change: the changes of all terms of a figure add up to the figure's. Largest first.",
    (
        text_column("metric", "Summary key, whose suffix is the unit of all that follows."),
        text_column("scenario", "Scenario that is compared with the first one."),
        text_column("term", "Part of the figure."),
        real_column("before", "", "Its size in the first scenario."),
        real_column("after", "", "Its size in this scenario."),
        real_column("change", "", "Difference."),
        real_column("share_frac", "1", "Share of the figure's change; null where the figure stays.", null=True),
        real_column("by_amount", "", "Part of the change through the amount: steps, seconds, energy, device-hours."),
        real_column("by_rate", "", "Part through the rate: seconds a step, power, carbon intensity, price."),
    ),
)

_UNCERTAIN = Table(
    "uncertain",
    "The inputs that a sensitivity study varies.",
    (
        text_column("input", "Dotted path."),
        text_column("distribution", "How it is distributed, as a scenario writes it."),
        text_column("base", "Value of the scenario as it stands; null where the catalog or a default gives it.", null=True),
        text_column("low", "5th percentile, or the first value."),
        text_column("high", "95th percentile, or the last value."),
        text_column("origin", "Who says so.", values=("scenario", "axis", "model", "catalog", "default")),
        text_column("source", "Where the distribution is from.", null=True),
    ),
)

_TORNADO = Table(
    "tornado",
    "One input at a time at its 5th and 95th percentile, all others as the scenario has them. Widest swing first for each figure.",
    (
        text_column("metric", "Summary key, whose suffix is the unit of base, at_low, at_high and swing."),
        text_column("input", "Dotted path."),
        text_column("low", "Value of the input at its 5th percentile."),
        text_column("high", "Value at its 95th."),
        real_column("base", "", "The figure of the scenario as it stands."),
        real_column("at_low", "", "The figure at the low value; null where that point cannot be run.", null=True),
        real_column("at_high", "", "The figure at the high value.", null=True),
        real_column("swing", "", "Distance of the farthest apart of the three.", null=True),
        real_column("swing_frac", "1", "The same as a share of the base.", null=True),
    ),
)

_SOBOL = Table(
    "sobol",
    "Shares of a figure's variance that come from each input (Sobol indices), with 90 % intervals by resampling.",
    (
        text_column("metric", "Summary key."),
        text_column("input", "Dotted path."),
        real_column("first", "1", "Share from the input alone."),
        real_column("first_low", "1", "Lower end."),
        real_column("first_high", "1", "Upper end."),
        real_column("total", "1", "Share from the input alone and together with others."),
        real_column("total_low", "1", "Lower end."),
        real_column("total_high", "1", "Upper end."),
        count_column("samples", "Base samples that the indices rest on."),
    ),
)

_UNCERTAINTY = Table(
    "uncertainty",
    "Every figure as a range: what the samples of a Monte Carlo study say.",
    (
        text_column("metric", "Summary key, whose suffix is the unit of all figures that follow."),
        count_column("n", "Samples that have the figure."),
        real_column("base", "", "The figure of the scenario as it stands; null where it cannot be run.", null=True),
        real_column("mean", "", "Mean."),
        real_column("p5", "", "5th percentile (nearest rank)."),
        real_column(
            "p5_low", "", "Lower end of its 95 % interval, an order statistic; null where there are too few samples for one.", null=True
        ),
        real_column("p5_high", "", "Upper end.", null=True),
        real_column("p50", "", "Median."),
        real_column("p50_low", "", "Lower end of its 95 % interval.", null=True),
        real_column("p50_high", "", "Upper end.", null=True),
        real_column("p95", "", "95th percentile."),
        real_column("p95_low", "", "Lower end of its 95 % interval.", null=True),
        real_column("p95_high", "", "Upper end.", null=True),
    ),
)

_DRIVERS = Table(
    "drivers",
    "How closely each figure follows each input over the samples. Closest first.",
    (
        text_column("metric", "Summary key."),
        text_column("input", "Dotted path."),
        real_column("rank_correlation", "1", "Spearman's coefficient; null where either is constant.", null=True),
    ),
)

STUDIES = (
    _UNCERTAIN,
    _TORNADO,
    _SOBOL,
    _UNCERTAINTY,
    _DRIVERS,
    _INTERVALS,
    _SWEEP_RANGES,
    _COMPARE_INPUTS,
    _COMPARE_FIGURES,
    _COMPARE_TERMS,
)
