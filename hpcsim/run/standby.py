"""Nodes that were switched off, boot or shut down: from the intervals that the engine kept to energy, by state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpcsim.scenario.power import SwitchOffSpec
from hpcsim.scheduling.sleeping import SleepRule

if TYPE_CHECKING:
    from hpcsim.engine.jobs import BatchSystem
    from hpcsim.run.accounting import Down, GroupAccount
    from hpcsim.run.bind import Bound

__all__ = ["Standby", "sleep_rule", "standby_of", "standby_summary", "standby_tables"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_STATES = ("on", "booting", "off", "shutting down")


@dataclass(frozen=True)
class Standby:
    """Times that nodes spent neither on nor out of service: arrays of shape (n,), a row for each time of one node.

    Attributes
    ----------
    group, node : int array
        Index of the node group, and number of the node in it.
    state : str array
        ``off``, ``booting`` or ``shutting down``.
    start_s, end_s : float array [s]
        From when until when; infinite where it has not ended.
    draw_w : float array [W]
        Power of the node then, in place of its idle power.
    """

    group: Ints
    node: Ints
    state: npt.NDArray[np.str_]
    start_s: Floats
    end_s: Floats
    draw_w: Floats
    nodes: int = 0
    """Nodes of the groups that switch nodes off."""
    boots: int = 0
    """Times that a node was switched on again."""

    @classmethod
    def of(cls, rows: list[tuple[int, int, str, float, float, float]], nodes: int = 0, boots: int = 0) -> Standby:
        """Build from rows (group, node, state, start_s, end_s, draw_w)."""
        columns: list[Any] = list(zip(*rows)) if rows else [()] * 6
        whole = [np.asarray(column, dtype=np.int64) for column in columns[:2]]
        times = [np.asarray(column, dtype=np.float64) for column in columns[3:]]
        return cls(whole[0], whole[1], np.asarray(columns[2], dtype=np.str_), times[0], times[1], times[2], nodes, boots)


def sleep_rule(spec: SwitchOffSpec | None) -> SleepRule | None:
    """Return the rule that a scenario states; None where nodes stay on."""
    if spec is None:
        return None
    return SleepRule(idle_s=spec.after, boot_s=spec.boot, shutdown_s=spec.shutdown, spares=spec.spares)


def standby_of(bound: Bound, pools: Mapping[str, BatchSystem]) -> Standby | None:
    """Return what the pools of a run kept, with its power; None where no group switches nodes off."""
    spec = bound.scenario.scheduler.switch_off
    if spec is None:
        return None
    rows: list[tuple[int, int, str, float, float, float]] = []
    nodes = boots = 0
    names = list(bound.cluster.groups)
    for pool in {id(pool): pool for pool in pools.values()}.values():
        power = getattr(pool, "power", None)
        power = getattr(power, "inner", power)  # caches stand in front of it
        if power is None:
            continue
        mine = [name for name in names if pools[name] is pool]  # several groups that are one machine lie one after the other there
        ends = np.cumsum([bound.cluster.groups[name].count for name in mine])
        idle = [_idle_w(bound, name) for name in mine]
        for node, state, start, end in power.intervals():
            at = int(ends.searchsorted(node, "right"))
            given = {"off": spec.off_power, "booting": spec.boot_power, "shutting down": spec.shutdown_power}[state]
            first = int(ends[at - 1]) if at else 0
            rows.append((names.index(mine[at]), node - first, state, start, end, idle[at] if given is None else given))
        nodes += int(ends[-1])
        boots += power.boots
    return Standby.of(rows, nodes, boots)


def _idle_w(bound: Bound, name: str) -> float:
    from hpcsim.run.prices import group_account

    return group_account(bound.cluster.groups[name], bound.cluster)[0].idle_w


def standby_summary(standby: Standby | None, begin_s: float, end_s: float) -> dict[str, float]:
    """Return what a summary says of nodes that were switched off."""
    if standby is None or not end_s > begin_s:
        return {}
    off = standby.state == "off"
    seconds = np.clip(standby.end_s, begin_s, end_s) - np.clip(standby.start_s, begin_s, end_s)
    return {"switched_off_frac": float(seconds[off].sum()) / (standby.nodes * (end_s - begin_s)), "boots": standby.boots}


def standby_tables(standby: Standby, groups: list[GroupAccount], down: Down, begin_s: float, end_s: float) -> dict[str, dict[str, Any]]:
    """Return the columns of the tables ``node_power`` and ``node_states``: what jobs add while a node is on is not counted here."""
    start, end = np.clip(standby.start_s, begin_s, end_s), np.clip(standby.end_s, begin_s, end_s)
    seen = end > start
    intervals = {
        "group": [groups[i].name for i in standby.group[seen].tolist()],
        "node": standby.node[seen],
        "state": standby.state[seen].tolist(),
        "start_s": start[seen],
        "end_s": end[seen],
        "power_w": standby.draw_w[seen],
    }
    rows: list[tuple[str, str, float, float]] = []
    for i in sorted(set(standby.group.tolist())):
        mine = standby.group == i
        away = 0.0
        parts = []
        for state in _STATES[1:]:
            here = mine & (standby.state == state)
            seconds = float((end - start)[here].sum())
            parts.append((groups[i].name, state, seconds, float(np.dot((end - start)[here], standby.draw_w[here]))))
            away += seconds
        broken = down.group == i
        lost = float(np.dot((np.clip(down.end_s, begin_s, end_s) - np.clip(down.start_s, begin_s, end_s))[broken], down.nodes[broken]))
        on = groups[i].nodes * (end_s - begin_s) - away - lost
        rows += [(groups[i].name, "on", on, on * groups[i].idle_w), *parts]
        if lost:
            rows.append((groups[i].name, "out of service", lost, 0.0))
    return {
        "node_power": intervals,
        "node_states": {name: [row[k] for row in rows] for k, name in enumerate(("group", "state", "node_s", "energy_j"))},
    }
