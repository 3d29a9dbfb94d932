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

STUDIES = (_INTERVALS, _COMPARE_INPUTS, _COMPARE_FIGURES, _COMPARE_TERMS)
