"""Power and energy beside measurements: devices, nodes and whole machines, through the same functions as a run's accounts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import Catalog, default
from hpcsim.cluster.build import resolve
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cost.power import activity_power_w
from hpcsim.cost.step_cost import Z80
from hpcsim.evidence.energy import ACTIVITIES, EnergyCase, read_energy_cases
from hpcsim.run.prices import facility_of
from hpcsim.run.ranges import POWER_SIGMA
from hpcsim.scenario.load import load
from hpcsim.study.scores import score
from hpcsim.workload.training import HOST_LOAD_FRAC

__all__ = ["case_power_w", "verify_energy"]

_ANY_WORK = {"tasks": {"any": {"data": "1 GB", "work": "1 GFLOP"}}}


def _device_w(group: NodeGroup, activity: dict[str, float]) -> float | None:
    a = group.accelerator
    if a is None or a.idle_w is None or a.tdp_w is None:
        return None
    if not activity:
        return a.idle_w
    compute, memory, communication = (activity.get(name, 0.0) for name in ACTIVITIES)
    return float(activity_power_w(a.idle_w, a.tdp_w, compute_frac=compute, memory_frac=memory, communication_frac=communication))


def _node_w(group: NodeGroup, activity: dict[str, float]) -> float | None:
    device = _device_w(group, activity) if group.per_node else 0.0
    if device is None or group.idle_w is None or group.max_w is None:
        return None
    load = 0.0 if not activity else HOST_LOAD_FRAC if group.per_node else activity.get("compute", 0.0)
    return group.idle_w + load * (group.max_w - group.idle_w) + group.per_node * device


def case_power_w(what: str, cluster: Cluster, activity: dict[str, float]) -> float | None:
    """Return the power of a device or node of the first group, or of all nodes, switches and storage [W]; None where it is not known.

    ``activity`` holds the shares of the time bound by compute, memory and communication; empty is at rest.
    """
    groups = list(cluster.groups.values())
    if what == "device":
        return _device_w(groups[0], activity)
    if what == "node":
        return _node_w(groups[0], activity)
    facility, _ = facility_of(cluster)
    nodes = [_node_w(group, activity) for group in groups]
    if any(w is None for w in nodes):
        return None
    return sum(group.total * (w or 0.0) for group, w in zip(groups, nodes, strict=True)) + facility.network_w + facility.storage_w


def _row(case: EnergyCase, catalog: Catalog) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": case.id,
        "group": case.group,
        "what": case.what,
        "unit": "W" if case.duration_s is None else "J",
        "duration_s": case.duration_s,
    }
    row |= {"kind": case.kind, "informed": case.informed}
    try:
        spec = load({"schema": 1, "name": "case", "question": "?", "cluster": dict(case.cluster), "workload": _ANY_WORK}).spec.cluster
        watts = case_power_w(case.what, resolve(spec, catalog), dict(case.activity))
    except InputError as error:
        return {**row, "status": "refused", "reason": "; ".join(str(problem) for problem in error.problems)}
    if watts is None:
        return {**row, "status": "refused", "reason": "the power of a part is not known: give it in the cluster"}
    predicted = watts * (1.0 if case.duration_s is None else case.duration_s)
    spread = math.exp(Z80 * POWER_SIGMA)
    return {**row, "status": "ok", "measured": case.measured, "predicted": predicted, "low": predicted / spread, "high": predicted * spread}


def verify_energy(cases: str | Path | None = None, *, catalog: Catalog | None = None) -> dict[str, Any]:
    """Hold predicted against measured power and energy.

    Parameters
    ----------
    cases : path, optional
        A file as :mod:`hpcsim.evidence.energy` describes it; the shipped one without it.
    catalog : Catalog, optional
        The default one without it.

    Returns
    -------
    dict
        As of :func:`hpcsim.study.verify.verify_training`; ``measured`` and ``predicted`` are in W, or in J where a case has a duration.
        ``informed`` names the constant of the model that was set with a look at the figure: those cases are left out of ``overall``.

    Raises
    ------
    InputError
        The file is not there or wrong.
    """
    rows = [_row(case, catalog or default()) for case in read_energy_cases(cases)]
    groups, _ = score(rows)
    _, overall = score([row for row in rows if not row["informed"]])
    return {"kind": "energy", "cases": rows, "groups": groups, "overall": {**overall, "informed": sum(bool(r["informed"]) for r in rows)}}
