"""What each of several node groups of batch jobs did: work, waits, energy and money by its own figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpcsim.run.accounting import group_energy_j
from hpcsim.run.prices import group_account
from hpcsim.run.record import Record
from hpcsim.run.standby import Standby

__all__ = ["group_rows"]


def group_rows(record: Record, costs: Mapping[str, Any] | None, *, powered: bool) -> dict[str, list[Any]]:
    """Return the columns of the table ``groups``: the groups that batch jobs run on, then those that they may not.

    Parameters
    ----------
    record : Record
    costs : mapping or None
        Columns of the table ``costs``; None where the bill is not whole.
    powered : bool
        Whether all power is known.
    """
    batch, cluster = record.batch, record.bound.cluster
    assert batch is not None
    bound, usage = batch.bound, record.usage
    names = list(cluster.groups)
    begin, end = record.begin_s, max(record.end_s, record.begin_s)
    held_s = np.clip(usage.end_s, begin, end) - np.clip(usage.start_s, begin, end)
    standby = record.standby or Standby.of([])
    ran = ~np.isnan(batch.start_s) | (record.scheduled is None)
    rows: list[tuple[Any, ...]] = []
    per_node = {group.name: each for group, each in zip(bound.groups, bound.per_nodes, strict=True)}
    order = {group.name: at for at, group in enumerate(bound.groups)}
    others = [group for group in cluster.groups.values() if group.name not in per_node]  # their power and money are in the totals too
    for group in (*bound.groups, *others):
        each, at = per_node.get(group.name, 0), order.get(group.name, -1)
        index = names.index(group.name)
        mine = usage.group == index
        here = ran & (batch.home == at) if batch.home is not None else np.zeros(len(ran), dtype=np.bool_)
        waits = batch.wait_s[here] if record.scheduled else []
        whole = group.count * (end - begin)
        busy = float(np.dot(usage.processors[mine], held_s[mine]))
        devices = float(np.dot(usage.devices[mine], held_s[mine]))
        account, _ = group_account(group, cluster)
        energy = group_energy_j(index, account, usage, record.down, standby, begin, end)
        work = float(np.dot(usage.draw_w[mine], held_s[mine]))
        billed = [usd for name, usd in zip(costs["group"], costs["usd"], strict=True) if name == group.name] if costs else []
        rows.append(
            (
                group.name,
                group.count,
                group.count * each,
                group.device_count,
                int(here.sum()),
                float(np.mean(waits)) if len(waits) else math.nan,
                busy / (whole * each) if whole > 0 and each and record.scheduled else math.nan,
                devices / (whole * group.per_node) if whole > 0 and group.per_node else math.nan,
                work if powered else math.nan,
                energy - work if powered else math.nan,
                sum(billed) if billed else math.nan,
            )
        )
    keys = (
        "group", "nodes", "processors", "accelerators", "jobs", "mean_wait_s", "utilisation_frac", "device_utilisation_frac", "compute_energy_j",
        "idle_energy_j", "cost_usd",
    )  # fmt: skip
    return {key: [row[k] for row in rows] for k, key in enumerate(keys)}
