"""What a calibration found, applied: overlay values of the catalog take the place of what the cost formulas assume."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from hpcsim.base.errors import InputError
from hpcsim.catalog.architecture import assumed_software_year
from hpcsim.catalog.hardware import Link as LinkEntry
from hpcsim.catalog.link_kinds import kind_name, link_terms, spread_kind
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.software import Software as StackEntry
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cost.collectives import Fabric, Link
from hpcsim.cost.compute import Device
from hpcsim.cost.software import Software, software, with_options
from hpcsim.scenario.workload import TrainingSpec

__all__ = ["GENERIC", "calibrated_device", "calibrated_fabric", "calibrated_software", "stack_of"]

RACK_LINK = "nvlink-5-nvl72"
"""Catalog link of NVLink 5 over more devices than a board has."""
GENERIC = "generic"
"""Entry of the software that a scenario does not name."""


def calibrated_device(device: Device, group: NodeGroup, catalog: Catalog) -> Device:
    """Return the device with the memory and attention efficiencies that the catalog has for it."""
    try:
        entry = catalog.accelerator(group.accelerator.id) if group.accelerator else None
    except InputError:  # described in line
        return device
    if entry is None:
        return device
    changes = {"memory_frac": entry.memory_efficiency_frac, "attention_frac": entry.attention_efficiency_frac}
    found: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    return dataclasses.replace(device, **found) if found else device


def _calibrated(link: Link, name: str, catalog: Catalog) -> Link:
    try:
        entry: LinkEntry | None = catalog.link(name) if name else None
    except InputError:  # a rate as it was written
        return link
    if entry is None:
        return link
    kind = {key: value for key, value in link_terms(entry.id, catalog).items() if key != "device_bytes_per_s"}
    changes = kind | {key: value for key, value in _own_terms(entry).items() if value is not None}
    found: dict[str, Any] = {key: np.asarray(value, dtype=np.float64) for key, value in changes.items()}
    return dataclasses.replace(link, **found)


def _own_terms(entry: LinkEntry) -> dict[str, float | None]:
    return {
        "efficiency_frac": entry.sustained_frac,
        "startup_s": entry.startup_s,
        "latency_s": entry.step_latency_s,
        "pipelining": entry.pipelining,
        "low_latency_bytes_per_s": entry.low_latency_bytes_per_s,
        "in_switch_frac": entry.in_switch_frac,
    }


def calibrated_fabric(fabric: Fabric, group: NodeGroup, cluster: Cluster, catalog: Catalog) -> Fabric:
    """Return the fabric with what the catalog's links are known to sustain: share of the line rate, and a calibration's other terms."""
    inner = group.accelerator.scale_up_link if group.accelerator else ""
    if kind_name(spread_kind(inner, group.domain)) != kind_name(inner):
        inner = RACK_LINK  # the same devices behind a rack's switches: what was fitted to eight on a board does not hold
    outer = cluster.fabric.link if cluster.fabric else ""
    return dataclasses.replace(
        fabric, scale_up=_calibrated(fabric.scale_up, inner, catalog), scale_out=_calibrated(fabric.scale_out, outer, catalog)
    )


def calibrated_software(stack: Software, framework: str | None, catalog: Catalog) -> Software:
    """Return the stack with the terms that the catalog has for a framework."""
    name = framework or GENERIC
    known = {str(n).casefold(): str(n) for n in catalog.names("software")}
    if name.casefold() not in known:
        return stack
    entry = catalog.find("software", known[name.casefold()])
    assert isinstance(entry, StackEntry)
    changes = {"launch_s": entry.launch_s, "step_s": entry.step_overhead_s, "traffic_factor": entry.memory_traffic}
    found: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    return dataclasses.replace(stack, **found) if found else stack


def software_year(spec: TrainingSpec, device: Device) -> int:
    """Return the year of a run's software, which follows from its device where the run does not say."""
    return spec.year or assumed_software_year(float(np.asarray(device.year)))


def stack_of(spec: TrainingSpec, device: Device, catalog: Catalog) -> Software:
    """Return the software of a run on a device: its framework and year, a calibration's values over them, then graphs and compiler."""
    stack = calibrated_software(software(spec.framework or "", software_year(spec, device)), spec.framework, catalog)
    return with_options(stack, captured=spec.captured, compiled=spec.compiled)
