"""Prices of node groups as accounting takes them: dollars per device and second."""

from __future__ import annotations

import math

from hpcsim.cluster.parts import Cluster, NodeGroup, Price
from hpcsim.cost.money import YEAR_S, annual_capital
from hpcsim.run.accounting import Facility, GroupAccount
from hpcsim.run.hours import Hours

__all__ = ["facility_of", "group_account", "usd_per_device_s"]


def usd_per_device_s(price: Price) -> float:
    """Return what one device costs for a second: its hourly price, or purchase, interest and maintenance spread over its life."""
    if price.usd_per_s is not None:
        return price.usd_per_s
    capex, life_s = price.capex_usd or 0.0, price.lifetime_s or YEAR_S
    yearly = float(annual_capital(capex, rate_frac=price.interest_frac, years=life_s / YEAR_S, salvage_frac=price.salvage_frac))
    return (yearly + price.maintenance_frac * capex) / YEAR_S


def group_account(group: NodeGroup, cluster: Cluster) -> tuple[GroupAccount, str]:
    """Return what accounting needs of a group, and why its energy is not known (empty where it is)."""
    price = cluster.prices.get(group.name)
    device_idle = group.accelerator.idle_w if group.accelerator else 0.0
    gap = ""
    if group.idle_w is None or group.max_w is None:
        gap = f"the power of a node of {group.name!r} is not known; add {group.path}.idle_power and {group.path}.max_power"
    elif device_idle is None or (group.accelerator is not None and group.accelerator.tdp_w is None):
        gap = f"the power of a device of {group.name!r} is not known; add {group.path}.accelerator.idle and .tdp"
    idle_w = 0.0 if gap else (group.idle_w or 0.0) + group.per_node * (device_idle or 0.0)
    account = GroupAccount(
        name=group.name,
        nodes=group.total,
        idle_w=idle_w,
        devices=float(group.total * group.per_node if group.per_node else group.total),
        usd_per_device_s=usd_per_device_s(price) if price else None,
        billed_when_used=price is not None and price.billing == "used",
        includes_electricity=price is not None and price.includes_electricity,
    )
    return account, gap


def facility_of(cluster: Cluster, hours: Hours | None = None) -> tuple[Facility, list[str]]:
    """Return the building and what runs all the time, and what is missing from it; hourly series win over the site's constants."""
    notes: list[str] = []
    network_w = 0.0
    if cluster.fabric is not None and cluster.fabric_size is not None:
        switches = sum(cluster.fabric_size.switches)
        if cluster.fabric.switch_w is None:
            words = "the switch is" if switches == 1 else f"the {switches} switches is"
            notes.append(f"The power of {words} not known and counts for nothing; add cluster.fabric.switch_power.")
        else:
            network_w = switches * cluster.fabric.switch_w
        cables = [row for row in cluster.bill if row.part != "switch"]
        network_w += sum(row.number * row.each_w for row in cables if not math.isnan(row.each_w))
    storage_w = 0.0
    for tier in cluster.storage.values():
        if tier.power_w is None:
            notes.append(f"The power of storage {tier.name} is not known and counts for nothing; add {tier.path}.power.")
        else:
            storage_w += tier.power_w
    site = cluster.site
    carbon, tariff = site.carbon_kg_co2e_per_j, site.electricity_usd_per_j
    if hours is not None:
        carbon = hours.mean_carbon if hours.mean_carbon is not None else carbon
        tariff = hours.mean_price if hours.mean_price is not None else tariff
    return Facility(network_w, storage_w, site.pue, carbon, tariff, hours), notes
