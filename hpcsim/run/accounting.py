"""Energy, money and carbon from what ran when – after the event loop, by exact integrals.

Power is constant between two changes of state, so every energy is a finite sum; the totals are the sums of the tables' rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.run.hours import Hours
from hpcsim.run.standby import Standby

__all__ = ["Account", "Down", "Facility", "GroupAccount", "Usage", "account", "covered_frac", "group_energy_j", "pool_states"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Usage:
    """What held the machine: arrays of shape (n,), a row for every stretch of constant draw.

    Attributes
    ----------
    job : int array
        Index of the job that the stretch belongs to.
    group : int array
        Index of the node group.
    start_s, end_s : float arrays
        Begin and end [s]; ``end_s >= start_s``.
    processors : int array
        Processors of the pool that are held.
    devices : float array
        Billable devices that are held: accelerators, or nodes in a group without any.
    draw_w : float array
        Power above idle of all that is held [W].
    """

    job: Ints
    group: Ints
    start_s: Floats
    end_s: Floats
    processors: Ints
    devices: Floats
    draw_w: Floats

    @classmethod
    def of(cls, rows: list[tuple[int, int, float, float, int, float, float]]) -> Usage:
        """Build from rows (job, group, start_s, end_s, processors, devices, draw_w)."""
        columns = list(zip(*rows)) if rows else [()] * 7
        kinds = (np.int64, np.int64, np.float64, np.float64, np.int64, np.float64, np.float64)
        return cls(*(np.asarray(c, dtype=k) for c, k in zip(columns, kinds)))  # type: ignore[arg-type]

    @classmethod
    def join(cls, parts: list[Usage]) -> Usage:
        """Return all rows of several usages."""
        names = ("job", "group", "start_s", "end_s", "processors", "devices", "draw_w")
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in names)) if parts else cls.of([])


@dataclass(frozen=True)
class Down:
    """Nodes out of service: arrays of shape (n,); a node that is down draws nothing."""

    group: Ints
    start_s: Floats
    end_s: Floats
    nodes: Ints

    @classmethod
    def of(cls, rows: list[tuple[int, float, float, int]]) -> Down:
        """Build from rows (group, start_s, end_s, nodes)."""
        columns = list(zip(*rows)) if rows else [()] * 4
        kinds = (np.int64, np.float64, np.float64, np.int64)
        return cls(*(np.asarray(c, dtype=k) for c, k in zip(columns, kinds)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class GroupAccount:
    """What accounting needs to know of a node group.

    Attributes
    ----------
    name : str
    nodes : int
        Nodes that stand there, spares included.
    idle_w : float
        Power of one idle node with its devices [W].
    devices : float
        Billable devices of the whole group: accelerators, or nodes in a group without any.
    usd_per_device_s : float or None
        Price of one device for one second; None where no price is given.
    billed_when_used : bool
        Whether only allocated device time is paid, instead of the whole horizon.
    includes_electricity : bool
        Whether the price covers the electricity of the group, with its part of the network's and the storage's.
    """

    name: str
    nodes: int
    idle_w: float
    devices: float
    usd_per_device_s: float | None = None
    billed_when_used: bool = False
    includes_electricity: bool = False


@dataclass(frozen=True)
class Facility:
    """The building and what runs all the time."""

    network_w: float
    storage_w: float
    pue: float
    carbon_kg_co2e_per_j: float | None
    electricity_usd_per_j: float | None
    hours: Hours | None = None
    """Hourly carbon and prices, which take the place of the constant ones."""


@dataclass(frozen=True)
class Account:
    """The result: columns of the declared tables, totals, and the bill of every job."""

    power: dict[str, Any]
    energy: dict[str, Any]
    costs: dict[str, Any]
    summary: dict[str, float]
    job_usd: Floats


def _step_function(times: Floats, start_s: Floats, end_s: Floats, weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return Σ weight of the rows that cover each interval ``times[i] … times[i+1]``; integers stay exact."""
    change = np.zeros(len(times), dtype=weight.dtype)
    np.add.at(change, np.searchsorted(times, start_s), weight)
    np.subtract.at(change, np.searchsorted(times, end_s), weight)
    return np.cumsum(change)[:-1]


def _change_points(begin_s: float, end_s: float, *arrays: Floats) -> Floats:
    times = np.unique(np.concatenate([np.array([begin_s, end_s]), *arrays]))
    inside: Floats = times[(times >= begin_s) & (times <= end_s)]
    return inside


def _clip(begin_s: float, end_s: float, *arrays: Floats) -> list[Floats]:
    return [np.clip(a, begin_s, end_s) for a in arrays]


def _power(
    groups: list[GroupAccount], facility: Facility, usage: Usage, down: Down, standby: Standby, begin_s: float, end_s: float
) -> dict[str, Any]:
    u0, u1, d0, d1 = _clip(begin_s, end_s, usage.start_s, usage.end_s, down.start_s, down.end_s)
    s0, s1 = _clip(begin_s, end_s, standby.start_s, standby.end_s)
    times = _change_points(begin_s, end_s, u0, u1, d0, d1, s0, s1)
    intervals = len(times) - 1
    compute = np.maximum(_step_function(times, u0, u1, usage.draw_w), 0.0)
    compute[_step_function(times, u0, u1, (usage.draw_w > 0).astype(np.int64)) == 0] = 0.0
    idle = np.full(intervals, sum(g.nodes * g.idle_w for g in groups))
    for i, group in enumerate(groups):
        here = down.group == i
        if here.any():
            idle -= group.idle_w * _step_function(times, d0[here], d1[here], down.nodes[here])
        for watts in np.unique(standby.draw_w[standby.group == i]).tolist():  # counted in whole nodes, so that nothing is left by rounding
            here = (standby.group == i) & (standby.draw_w == watts)
            idle += (watts - group.idle_w) * _step_function(times, s0[here], s1[here], np.ones(int(here.sum()), dtype=np.int64))
    network = np.full(intervals, facility.network_w)
    storage = np.full(intervals, facility.storage_w)
    it_w = compute + idle + network + storage
    cooling = it_w * (facility.pue - 1.0)
    return {
        "start_s": times[:-1],
        "end_s": times[1:],
        "compute_w": compute,
        "idle_w": idle,
        "network_w": network,
        "storage_w": storage,
        "cooling_w": cooling,
        "total_w": it_w + cooling,
    }


_COMPONENTS = ("compute", "idle", "network", "storage", "cooling")


def _energy(power: dict[str, Any], facility: Facility) -> dict[str, Any]:
    seconds = power["end_s"] - power["start_s"]
    joules = np.array([float(np.dot(power[f"{c}_w"], seconds)) for c in _COMPONENTS])
    intensity = facility.carbon_kg_co2e_per_j
    carbon = joules * intensity if intensity is not None else np.full(len(joules), np.nan)
    if facility.hours is not None and facility.hours.carbon_kg_co2e_per_j is not None:
        each = facility.hours.integral(facility.hours.carbon_kg_co2e_per_j, power["start_s"], power["end_s"])
        carbon = np.array([float(np.dot(power[f"{c}_w"], each)) for c in _COMPONENTS])
    return {"component": list(_COMPONENTS), "energy_j": joules, "carbon_kg_co2e": carbon}


def group_energy_j(i: int, group: GroupAccount, usage: Usage, down: Down, standby: Standby, begin_s: float, end_s: float) -> float:
    """Return the energy of one group's nodes [J]: idle while they stand, and what runs on them."""
    u0, u1, d0, d1 = _clip(begin_s, end_s, usage.start_s, usage.end_s, down.start_s, down.end_s)
    mine, broken = usage.group == i, down.group == i
    used = float(np.dot(usage.draw_w[mine], (u1 - u0)[mine]))
    lost = float(np.dot(down.nodes[broken], (d1 - d0)[broken])) * group.idle_w
    s0, s1 = _clip(begin_s, end_s, standby.start_s, standby.end_s)
    switched = float(np.dot((standby.draw_w - group.idle_w) * (standby.group == i), s1 - s0))
    return group.nodes * group.idle_w * (end_s - begin_s) - lost + used + switched


def _tariff(facility: Facility, power: dict[str, Any]) -> float | None:
    """Return the price of electricity [USD/J], of hourly prices the mean over what is drawn when."""
    hours = facility.hours
    if hours is None or hours.usd_per_j is None or facility.electricity_usd_per_j is None:
        return facility.electricity_usd_per_j
    joules = float(np.dot(power["total_w"], power["end_s"] - power["start_s"]))
    paid = float(np.dot(power["total_w"], hours.integral(hours.usd_per_j, power["start_s"], power["end_s"])))
    return paid / joules if joules > 0 else facility.electricity_usd_per_j


def _costs(
    groups: list[GroupAccount],
    facility: Facility,
    usage: Usage,
    down: Down,
    standby: Standby,
    energy: dict[str, Any],
    power: dict[str, Any],
    jobs: int,
    begin_s: float,
    end_s: float,
) -> tuple[dict[str, Any], Floats]:
    rows: list[tuple[str, str, float, str, float]] = []
    job_usd = np.zeros(jobs)
    u0, u1 = _clip(begin_s, end_s, usage.start_s, usage.end_s)
    covered_j = 0.0
    for i, group in enumerate(groups):
        price = group.usd_per_device_s
        if group.includes_electricity:
            covered_j += group_energy_j(i, group, usage, down, standby, begin_s, end_s)
        if price is None:
            continue
        mine = usage.group == i
        used_s = usage.devices[mine] * (u1 - u0)[mine]
        bills = used_s * price
        np.add.at(job_usd, usage.job[mine], bills)
        rows.append(("devices in use", group.name, float(used_s.sum()) / 3600, "device-hours", float(bills.sum())))
        if not group.billed_when_used:
            rest_s = group.devices * (end_s - begin_s) - float(used_s.sum())
            rows.append(("devices idle", group.name, rest_s / 3600, "device-hours", rest_s * price))
    tariff = _tariff(facility, power)
    if tariff is not None:
        joules = float(np.sum(energy["energy_j"]))
        share = covered_frac(groups)
        common_j = sum(float(e) for c, e in zip(energy["component"], energy["energy_j"], strict=True) if c in ("network", "storage"))
        rest = max(joules - (covered_j + share * common_j) * facility.pue, 0.0) if share < 1.0 else 0.0
        rows.append(("electricity", "", rest / 3.6e6, "kWh", rest * tariff))
        if covered_j:
            rows.append(("electricity that the price covers", "", (joules - rest) / 3.6e6, "kWh", 0.0))
    names = ("item", "group", "quantity", "unit", "usd")
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}, job_usd


def covered_frac(groups: Sequence[GroupAccount]) -> float:
    """Return the share of the nodes whose price covers electricity: so much of what network and storage draw their prices cover too.

    A provider that sells an hour of a node runs the switches and the storage behind it. Where owned and rented nodes stand beside each
    other, what they have in common is shared by their numbers.
    """
    nodes = sum(group.nodes for group in groups)
    return sum(group.nodes for group in groups if group.includes_electricity) / nodes if nodes else 0.0


def account(
    groups: list[GroupAccount],
    facility: Facility,
    usage: Usage,
    down: Down,
    *,
    jobs: int,
    begin_s: float,
    end_s: float,
    standby: Standby | None = None,
) -> Account:
    """Integrate energy, carbon and money over ``begin_s … end_s``.

    Parameters
    ----------
    groups : list of GroupAccount
    facility : Facility
    usage, down : Usage, Down
        What ran, and what was out of service; parts outside the horizon do not count.
    jobs : int
        Number of jobs; ``usage.job`` indexes them.
    begin_s, end_s : float
        Horizon [s].
    standby : Standby, optional
        Nodes that were switched off, boot or shut down, and what each draws then in place of its idle power.

    Returns
    -------
    Account
        ``power`` tiles the horizon; ``energy`` is its integral by component; ``costs`` adds up to ``cost_usd``.

    Notes
    -----
    Facility power is IT power times PUE at every instant; carbon is linear in energy (one intensity, the average mix; with hourly ones
    the integral of power times intensity). A job's bill is
    its device time at the group's price; the rest of the horizon is the idle cost, unless only used time is billed, so bills and idle
    cost add up to the cost of the devices.
    """
    standby = Standby.of([]) if standby is None else standby
    power = _power(groups, facility, usage, down, standby, begin_s, end_s)
    energy = _energy(power, facility)
    costs, job_usd = _costs(groups, facility, usage, down, standby, energy, power, jobs, begin_s, end_s)
    joules = energy["energy_j"]
    summary = {
        "it_energy_j": float(joules[:-1].sum()),
        "facility_energy_j": float(joules.sum()),
        "peak_power_w": float(power["total_w"].max()) if len(power["total_w"]) else 0.0,
    }
    if not np.isnan(energy["carbon_kg_co2e"]).any():
        summary["carbon_kg_co2e"] = float(np.sum(energy["carbon_kg_co2e"]))
    if costs["usd"]:
        summary["cost_usd"] = float(np.sum(costs["usd"]))
    return Account(power, energy, costs, summary, job_usd)


def pool_states(
    name: str,
    capacity: int,
    usage_start_s: Floats,
    usage_end_s: Floats,
    processors: Ints,
    submit_s: Floats,
    start_s: Floats,
    wanted: Ints,
    down: tuple[Floats, Floats, Ints],
    *,
    begin_s: float,
    end_s: float,
) -> dict[str, Any]:
    """Return the states of one pool of processors as intervals that tile the horizon.

    Parameters
    ----------
    name : str
        Node group.
    capacity : int
        Processors of the pool, spares included.
    usage_start_s, usage_end_s, processors : arrays, shape (n,)
        Stretches in which processors were held.
    submit_s, start_s, wanted : arrays, shape (jobs,)
        The queue: a job waits from submission to start (NaN: never started) for ``wanted`` processors.
    down : (start_s, end_s, processors)
        Processors out of service.
    begin_s, end_s : float
        Horizon [s].
    """
    u0, u1, q0 = _clip(begin_s, end_s, usage_start_s, usage_end_s, submit_s)
    q1 = np.clip(np.where(np.isnan(start_s), end_s, start_s), begin_s, end_s)
    d0, d1 = _clip(begin_s, end_s, down[0], down[1])
    times = _change_points(begin_s, end_s, u0, u1, q0, q1, d0, d1)
    busy = _step_function(times, u0, u1, processors)
    broken = _step_function(times, d0, d1, down[2])
    waiting = q1 > q0
    return {
        "group": [name] * (len(times) - 1),
        "start_s": times[:-1],
        "end_s": times[1:],
        "busy": busy,
        "idle": capacity - busy - broken,
        "down": broken,
        "queued_jobs": _step_function(times, q0[waiting], q1[waiting], np.ones(int(waiting.sum()), dtype=np.int64)),
        "queued_processors": _step_function(times, q0[waiting], q1[waiting], wanted[waiting]),
    }
