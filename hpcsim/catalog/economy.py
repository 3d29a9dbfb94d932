"""Entries on money, energy, carbon, power and failures."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hpcsim.catalog.entries import Entry, Money, Number, Span, Whole
from hpcsim.scenario.fields import Frozen, Quantity

__all__ = ["Carbon", "Electricity", "Power", "Price", "Pue", "Reliability"]

Hourly = Annotated[float, Quantity("price per time", zero=True)]
EnergyPrice = Annotated[float, Quantity("price of energy", zero=True)]
Seconds = Annotated[float, Quantity("time", zero=True)]
Watts = Annotated[float, Quantity("power", zero=True)]
Mass = Annotated[float, Quantity("carbon mass", zero=True)]
Term = Literal["on-demand", "1-year", "3-year", "spot"]


class Price(Entry):
    """A price per accelerator-hour, or a figure of the cost of ownership."""

    catalog_kind: ClassVar[str] = "price"

    category: Literal["hourly", "ownership", "egress"] = Field(description="hourly price, cost of ownership, or price of moved data")
    provider: str | None = Field(None, description="who sells it")
    accelerator: str | None = Field(None, description="catalog accelerator that is priced")
    devices: Annotated[int, Field(ge=1)] = Field(1, description="accelerators that the hourly price buys")
    date: str | None = Field(None, description="date of the price")
    usd_per_s: Annotated[dict[Term, Hourly], Frozen] = Field(
        default_factory=dict, alias="hourly", description="price by term; the median over regions"
    )
    low_usd_per_s: Annotated[dict[Term, Hourly], Frozen] = Field(default_factory=dict, alias="low", description="cheapest region, by term")
    high_usd_per_s: Annotated[dict[Term, Hourly], Frozen] = Field(default_factory=dict, alias="high", description="dearest region, by term")
    discount_frac: Annotated[dict[Term, Span], Frozen] = Field(
        default_factory=dict, alias="discount", description="discount on the on-demand price, by term"
    )
    capex_usd: Annotated[dict[str, Money], Frozen] = Field(
        default_factory=dict, alias="capex", description="purchase price by item or cluster size"
    )
    shares_frac: Annotated[dict[str, Span], Frozen] = Field(default_factory=dict, alias="shares", description="shares of a whole, by item")
    usd_per_byte: Annotated[dict[str, Annotated[float, Quantity("price of data")]], Frozen] = Field(
        default_factory=dict, alias="egress", description="price of a byte that leaves, by provider"
    )
    usd_per_watt: Annotated[float, Number] | None = Field(None, description="building cost of a watt of IT power [USD/W]")
    usd_per_kw_month: Annotated[float, Number] | None = Field(None, description="rent of a kilowatt of IT power for a month [USD]")
    usd_per_kw_month_high: Annotated[float, Number] | None = Field(None, description="upper end of its range [USD]")
    lifetime_s: Annotated[dict[str, Seconds], Frozen] = Field(
        default_factory=dict, alias="lifetime", description="depreciation time, by owner"
    )
    rate_frac: Span | None = Field(None, alias="rate", description="interest, or share of the purchase price in a year")
    staff_per_1000_accelerators: Annotated[float, Number] | None = Field(None, description="full-time staff")
    staff_usd: Money | None = Field(None, description="cost of one of them in a year")


class Electricity(Entry):
    """The price of electricity in a region."""

    catalog_kind: ClassVar[str] = "electricity"

    year: str | None = Field(None, description="period of the price")
    industrial_usd_per_j: EnergyPrice | None = Field(None, alias="industrial", description="industrial customers")
    commercial_usd_per_j: EnergyPrice | None = Field(None, alias="commercial", description="commercial customers")
    business_usd_per_j: EnergyPrice | None = Field(None, alias="business", description="business customers, sector not told apart")
    high_usd_per_j: EnergyPrice | None = Field(None, alias="high", description="upper end of the range, where one is given")
    eur_per_kwh: Annotated[float, Number] | None = Field(None, description="price as published, in euros; converted with the file's rate")


class Carbon(Entry):
    """The carbon intensity of electricity, or the embodied carbon of a device."""

    catalog_kind: ClassVar[str] = "carbon"

    category: Literal["region", "country", "country-lifecycle", "fuel", "embodied", "run"] = Field(description="what it is the carbon of")
    carbon_kg_co2e_per_j: Annotated[float, Quantity("carbon intensity", zero=True)] | None = Field(
        None, alias="intensity", description="carbon of electricity, average over the period"
    )
    year: str | None = Field(None, description="period")
    carbon_free_frac: Span | None = Field(None, alias="carbon_free", description="share of carbon-free energy that the operator matches")
    embodied_kg_co2e: Mass | None = Field(None, alias="embodied", description="carbon of making one device")
    server_kg_co2e: Mass | None = Field(None, alias="server", description="carbon of making one server without its accelerators")
    lifetime_s: Seconds | None = Field(None, alias="lifetime", description="lifetime it is spread over")
    utilisation_frac: Span | None = Field(None, alias="utilisation", description="use over that lifetime")
    dynamic_kg_co2e: Mass | None = Field(None, alias="dynamic", description="of a run: carbon of the accelerators' energy")
    idle_kg_co2e: Mass | None = Field(None, alias="idle", description="of a run: carbon of everything else that was on")
    run_embodied_kg_co2e: Mass | None = Field(None, alias="run_embodied", description="of a run: its share of the embodied carbon")
    total_kg_co2e: Mass | None = Field(None, alias="total", description="of a run: all of it")
    dynamic_j: Annotated[float, Quantity("energy")] | None = Field(
        None, alias="dynamic_energy", description="of a run: energy of the accelerators"
    )
    idle_j: Annotated[float, Quantity("energy")] | None = Field(
        None, alias="idle_energy", description="of a run: energy of everything else"
    )
    accelerator_s: Seconds | None = Field(None, alias="accelerator_time", description="of a run: accelerator time")
    g_per_exaflop: Number | None = Field(None, description="embodied grams for 1e18 FLOP of work at fp16")


class Pue(Entry):
    """Power usage effectiveness: facility power over IT power."""

    catalog_kind: ClassVar[str] = "pue"

    pue: Annotated[float, Number] = Field(alias="value", description="facility power over IT power")
    best: Number | None = Field(None, description="best site")
    year: str | None = Field(None, description="period")


class Reliability(Entry):
    """Failures as a run or fleet reported them, a component's failure rate, a repair time, or the interruption of spot instances."""

    catalog_kind: ClassVar[str] = "reliability"

    category: Literal["run", "fleet", "component", "silent-corruption", "repair", "straggler", "spot", "history"] = Field(
        description="kind of figure"
    )
    accelerator: str | None = Field(None, description="catalog accelerator")
    accelerators: Whole | None = Field(None, description="accelerators of the run or fleet")
    nodes: Whole | None = Field(None, description="nodes of the run")
    spare_nodes: Whole | None = Field(None, description="spare nodes that were held ready")
    length_s: Seconds | None = Field(None, alias="length", description="length of the run or observation")
    interruptions: Whole | None = Field(None, description="unexpected interruptions")
    planned: Whole | None = Field(None, description="planned interruptions")
    manual: Whole | None = Field(None, description="interruptions that needed a person")
    causes: Annotated[dict[str, Whole], Frozen] = Field(default_factory=dict, description="unexpected interruptions by cause")
    mean_time_to_interrupt_s: Annotated[dict[str, Seconds], Frozen] = Field(
        default_factory=dict, alias="mean_time_to_interrupt", description="of the whole job, by number of accelerators"
    )
    accelerator_mtbf_s: Seconds | None = Field(None, alias="accelerator_mtbf", description="one accelerator's share of the interruptions")
    failures_per_1000_node_days: Number | None = Field(None, description="node failures in 1000 node-days")
    failures_per_1000_node_days_high: Number | None = Field(None, description="upper end of the range")
    effective_frac: Span | None = Field(None, alias="effective", description="share of the time that trained the model")
    effective_before_frac: Span | None = Field(None, alias="effective_before", description="the same before it was improved")
    annual_failure_frac: Number | None = Field(None, alias="annual_failures", description="failures of one component in a year")
    early_failure_frac: Span | None = Field(None, alias="early_failures", description="share of a new batch that fails without burn-in")
    mtbf_s: Seconds | None = Field(None, alias="mtbf", description="mean time between failures of the component or system")
    repair_s: Seconds | None = Field(None, alias="repair", description="time to repair, replace or restart; median or lower end")
    repair_high_s: Seconds | None = Field(None, alias="repair_high", description="upper end of its usual range")
    repair_sigma: Number | None = Field(None, description="sigma of the logarithm, where it is log-normal")
    detection_s: Seconds | None = Field(None, alias="detection", description="time to find the fault")
    catch_up_s: Seconds | None = Field(None, alias="catch_up", description="time to reach the lost work again")
    automatic_frac: Span | None = Field(None, alias="automatic", description="share of faults repaired without a person")
    checkpoint_bytes: Annotated[float, Quantity("data size")] | None = Field(None, alias="checkpoint", description="size of a checkpoint")
    checkpoint_s: Seconds | None = Field(None, alias="checkpoint_time", description="time to write it")
    share_frac: Span | None = Field(None, alias="share", description="share of machines, jobs or components concerned")
    share_high_frac: Span | None = Field(None, alias="share_high", description="upper end of the range")
    slowdown_frac: Span | None = Field(None, alias="slowdown", description="how much slower they are")
    jobs: Whole | None = Field(None, description="jobs observed")
    outcomes_frac: Annotated[dict[str, Span], Frozen] = Field(
        default_factory=dict, alias="outcomes", description="shares of jobs by outcome"
    )
    time_frac: Annotated[dict[str, Span], Frozen] = Field(
        default_factory=dict, alias="time_shares", description="shares of accelerator time by outcome"
    )
    available_frac: Span | None = Field(
        None, alias="available", description="share of the time that a spot instance could be had; lower end"
    )
    available_high_frac: Span | None = Field(None, alias="available_high", description="upper end")
    mean_up_s: Seconds | None = Field(None, alias="mean_up", description="mean time up to an interruption; lower end")
    mean_up_high_s: Seconds | None = Field(None, alias="mean_up_high", description="upper end")
    interruptions_per_day: Number | None = Field(None, description="interruptions in a day; lower end")
    interruptions_per_day_high: Number | None = Field(None, description="upper end")
    warning_s: Seconds | None = Field(None, alias="warning", description="warning before an instance is taken")

    @property
    def node_mtbf_s(self) -> float | None:
        """Mean time between failures of one node [s], from the failures in 1000 node-days."""
        rate = self.failures_per_1000_node_days
        return None if not rate else 1000 * 86400 / rate


class Power(Entry):
    """A measured distribution of power, or a coefficient of a power model."""

    catalog_kind: ClassVar[str] = "power"

    category: Literal["distribution", "coefficient", "rule"] = Field(description="kind of figure")
    accelerator: str | None = Field(None, description="catalog accelerator")
    node: str | None = Field(None, description="catalog node type")
    percentiles_w: Annotated[dict[str, Watts], Frozen] = Field(default_factory=dict, alias="percentiles", description="power by percentile")
    parts_w: Annotated[dict[str, Watts], Frozen] = Field(default_factory=dict, alias="parts", description="power by part")
    efficiency_frac: Annotated[dict[str, Span], Frozen] = Field(default_factory=dict, alias="efficiency", description="efficiency by stage")
    idle_share_frac: Annotated[dict[str, Span], Frozen] = Field(
        default_factory=dict, alias="idle_share", description="idle power over thermal design power, by category of device"
    )
    base_idle_share_frac: Span | None = Field(
        None, alias="base_idle_share", description="idle power of a node without accelerators, over the rated power of the node"
    )
    w_per_byte: Number | None = Field(None, description="power of holding a byte [W/B]")
    j_per_byte: Number | None = Field(None, description="energy of moving a byte [J/B]")
