"""How the batch jobs of a scenario change their size: a law that it states, or the goodput of one of its training runs by the cost model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hpcsim.base.errors import InputError, problem_kind
from hpcsim.cluster.parts import NodeGroup
from hpcsim.cost.speedup import goodput
from hpcsim.scenario.elastic import ElasticSpec
from hpcsim.scenario.workload import TrainingSpec
from hpcsim.workload.elastic import Elasticity
from hpcsim.workload.training import TrainingPlan

__all__ = ["elasticity_of"]

NO_RUN = problem_kind("elastic-run-unknown", "there is no training run {name!r}", "known: {known}")
OTHER_NODES = problem_kind(
    "elastic-run-nodes", "the training run {name!r} is on {its!r}, the jobs are on {jobs!r}", "name a run on the nodes of the jobs"
)
NO_SIZES = problem_kind(
    "elastic-run-sizes",
    "the training run {name!r} can run on {sizes} of the sizes {tried} (nodes): {why}",
    "two sizes are needed; let the layout be auto",
)

_DOUBLINGS = 3
"""The largest batch without ``max_batch``: eight times the run's."""


def elasticity_of(
    spec: ElasticSpec,
    group: NodeGroup,
    per_node: int,
    trainings: dict[str, TrainingSpec],
    plan: Callable[[str, TrainingSpec], TrainingPlan],
) -> Elasticity:
    """Return how jobs change their size.

    Parameters
    ----------
    spec : ElasticSpec
        What the scenario says.
    group, per_node : NodeGroup, int
        The jobs' nodes, and processors of a node as jobs count them.
    trainings : dict of str to TrainingSpec
        The training runs of the scenario.
    plan : callable
        Plans a run.

    Raises
    ------
    InputError
        A run that there is not, that is on other nodes, or that fits on fewer than two sizes.
    """
    given = {key: value for key in ("serial", "parallelism", "variance") if (value := getattr(spec, key)) is not None}
    ends = {"least": spec.least, "most": spec.most, "part": spec.part}
    if spec.law != "training":
        table = tuple(sorted((float(size), speed) for size, speed in spec.table.items()))
        return Elasticity(spec.law, table=table, **given, **ends)
    run = trainings.get(spec.run or "")
    if spec.run is None or run is None:
        raise NO_RUN.error(path="workload.jobs.elastic.run", name=spec.run, known=", ".join(trainings) or "none")
    own = plan(spec.run, run)
    if own.group.name != group.name:
        raise OTHER_NODES.error(path="workload.jobs.elastic.run", name=spec.run, its=own.group.name, jobs=group.name)
    table = tuple((float(nodes * per_node), speed) for nodes, speed in _speeds(spec, spec.run, run, group, plan))
    return Elasticity("table", table=table, **ends)


def _speeds(
    spec: ElasticSpec, name: str, run: TrainingSpec, group: NodeGroup, plan: Callable[[str, TrainingSpec], TrainingPlan]
) -> list[tuple[int, float]]:
    """Return (nodes, goodput) for the sizes on which a run fits, doubling up to the whole group."""
    most = spec.max_batch or run.global_batch * (2**_DOUBLINGS if spec.noise_scale is not None else 1)
    batches = [run.global_batch]
    while batches[-1] * 2 <= most:
        batches.append(batches[-1] * 2)
    tried = sorted({min(2**step, group.count) for step in range(group.count.bit_length() + 1)})
    found: list[tuple[int, float]] = []
    why = ""
    for nodes in tried:
        rates = []
        for batch in batches:
            try:
                step_s = float(plan(name, run.model_copy(update={"count": nodes, "global_batch": batch})).cost.step_time_s)
                rates.append(batch / step_s)
            except InputError as error:
                why = why or error.problems[0].message
                rates.append(0.0)
        if spec.noise_scale is not None:
            speed = float(goodput(np.array(rates), np.array(batches), base_batch=run.global_batch, noise_scale=spec.noise_scale))
        else:
            speed = max(rates)
        if speed > 0:
            found.append((nodes, speed))
    if len(found) < 2:
        raise NO_SIZES.error(path="workload.jobs.elastic.run", name=name, sizes=len(found), tried=tried, why=why or "there is one only")
    return found
