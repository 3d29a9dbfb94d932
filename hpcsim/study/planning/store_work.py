"""A store goal at work: its five steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hpcsim.base.errors import InputError
from hpcsim.base.units import readable
from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.money import YEAR_S
from hpcsim.cost.reliability import spares_needed
from hpcsim.cost.storage import TEXT_CODEC, deduplicated, encryption_cores, erasure_coded, mttdl_s
from hpcsim.results.quantities import brief
from hpcsim.scenario.load import Scenario
from hpcsim.study.planning.candidates import Candidates
from hpcsim.study.planning.confirm import Confirmed
from hpcsim.study.planning.reasons import flip_words, rivals, why_words
from hpcsim.study.planning.sheet import MONTH_S, Sheet
from hpcsim.study.planning.sources import Source, Terms
from hpcsim.study.planning.store import FILL_FRAC, LIFE_YEARS, StoreModel, Tier, store_model

__all__ = ["StoreWork", "store_work"]

NEEDS, CHOICE, BUILD, TUNE, KEEP = "requirement analysis", "planning", "construction", "optimisation", "maintenance"
FACETS = ("compute", "storage", "network", "data", "AI platform", "governance")
WAN_BYTES_PER_S = 100e9 / 8
RESTOCK_S = 14 * 86400.0
AUDIT_FRAC = 0.05
"""Share of the accesses that an audit reads again."""


@dataclass
class StoreWork:
    """Data that are to be kept."""

    scenario: Scenario
    catalog: Catalog
    terms: Terms
    objective: str
    model: StoreModel
    found: Candidates
    confirmed: dict[int, Confirmed] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def source_of(self, row: int) -> Source:
        """Return where a combination keeps the data."""
        return self.model.sources[int(self.found.extra["source"][row])]

    def tier(self, row: int) -> Tier:
        """Return the tier of a combination."""
        return next(t for t in self.model.tiers if t.name == self.found.axes["storage"][row])

    def confirm(self, row: int) -> None:
        """Do nothing: keeping data has no event to simulate."""

    def rivals_of(self, found: Candidates, row: int) -> list[int]:
        """Return nothing: there is nothing to simulate."""
        return []

    def price(self, row: int) -> str:
        """Return the price with its source."""
        return self.source_of(row).words

    def says(self, row: int) -> str:
        """Return where to keep the data: the tier and its place."""
        source = self.source_of(row)
        return f"keep {self.model.name} ({readable(self.model.sizes[-1], 'data size', 3)} at the end) on {self.tier(row).name} {'at' if source.provider == 'own' else f'of {source.provider} in'} {source.place}"

    def write(self, sheet: Sheet, found: Candidates, row: int, *, reached: bool) -> None:
        """Add the five steps."""
        for step in (_needs, _choice, _build, _tune, _keep):
            step(self, sheet, found, row)
        if math.isnan(float(found.values["carbon_kg_co2e"][row])):
            self.notes.append(f"{self.model.name}: the carbon of the grid there is not known, so its emissions count for nothing here.")


def store_work(scenario: Scenario, name: str, terms: Terms, catalog: Catalog) -> StoreWork:
    """Return a store goal with all its combinations."""
    model = store_model(scenario, name, terms, catalog)
    return StoreWork(scenario, catalog, terms, scenario.plan.objective, model, model.found)


def _needs(w: StoreWork, sheet: Sheet, found: Candidates, row: int) -> None:
    goal, model, name = w.model.goal, w.model, w.found.goal
    read = goal.read or 0.0
    cores = float(encryption_cores(read)) if goal.encrypted else 0.0
    sheet.pen(NEEDS, name, "compute")(
        "cores that encrypt what is read",
        cores,
        why="d/v of AES-256-GCM" if goal.encrypted else "no encryption is asked for",
        flips="inline encryption in drives and ports needs none",
    )
    add = sheet.pen(NEEDS, name, "storage")
    for year, size in enumerate(model.sizes, 1):
        add(
            f"data at the end of year {year}",
            size,
            "size_bytes",
            f"size × (1 + {goal.growth:.0%})^{year} × (1 − {goal.duplicate:.0%} duplicates)/{goal.compression:g} compression",
        )
    factor = float(model.redundancy.factor)
    add(
        "raw capacity at the end",
        model.sizes[-1] * factor / FILL_FRAC,
        "raw_bytes",
        f"× {factor:.3g} redundancy ({float(model.redundancy.losses):g} losses survived) ÷ {FILL_FRAC:.0%} fill",
        "an erasure code in place of copies",
    )
    sheet.pen(NEEDS, name, "network")("read rate", read, "read_bytes_per_s", "as the goal states" if goal.read else "none is asked for")
    sheet.pen(NEEDS, name, "data")("share in use", goal.hot, "hot_frac", "the rest may lie on the cheapest tier")
    ingest = (model.sizes[-1] - (model.sizes[-2] if len(model.sizes) > 1 else goal.size)) / YEAR_S
    sheet.pen(NEEDS, name, "AI platform")("growth in the last year", max(ingest, 0.0), "ingest_bytes_per_s", "what arrives on average")
    limits = w.scenario.plan.limits
    where = ", ".join((*(limits.data_in or ()), *(limits.operators or ()))) or "anywhere, anyone"
    sheet.pen(NEEDS, name, "governance")(
        "where it may live, who may hold it", where, why="plan.limits.data_in and operators", flips="another list"
    )


def _choice(w: StoreWork, sheet: Sheet, found: Candidates, row: int) -> None:
    name, source = found.goal, w.source_of(row)
    by_axis = {rival.axis: rival for rival in rivals(found, row, w.objective)}
    for facet, axis, item, value in (
        ("storage", "storage", "tier", f"{w.tier(row).name} ({w.tier(row).spec.type})"),
        ("compute", "owner", "owner", source.owner),
        ("data", "place", "place", source.place),
    ):
        rival = by_axis.get(axis)
        why = why_words(found, rival, row, w.objective) if rival else "no other that keeps the limits"
        sheet.pen(CHOICE, name, facet)(item, value, why=why, flips=flip_words(rival, w.objective) if rival else "further options")
    rate = float(found.values["read_bytes_per_s"][row])
    need = w.model.goal.read or 0.0
    sheet.pen(CHOICE, name, "network")(
        "read rate of the tier",
        rate if math.isfinite(rate) else "not limited",
        "read_bytes_per_s" if math.isfinite(rate) else "",
        f"{need / rate:.2%} of it is asked for" if math.isfinite(rate) and rate else "",
    )
    sheet.pen(CHOICE, name, "AI platform")(
        "time to read it all once",
        w.model.sizes[-1] / rate if math.isfinite(rate) and rate else "not limited",
        "read_s" if math.isfinite(rate) and rate else "",
        "an epoch over all of it",
    )
    add = sheet.pen(CHOICE, name, "governance")
    add("country", source.country or "unknown", why=source.words)
    cost = float(found.values["cost_usd"][row])
    add(
        "cost over the horizon",
        cost,
        "cost_usd",
        ", ".join(f"{n} {brief('cost_usd', float(p[row]))}" for n, p in found.parts.items() if p[row] > 0),
    )
    held = sum(w.model.sizes) / 1e12 * 12
    add("cost of a TB and month", cost / held, "tb_month_usd", "over the data as kept, redundancy and growth in it")


def _build(w: StoreWork, sheet: Sheet, found: Candidates, row: int) -> None:
    name, source, tier = found.goal, w.source_of(row), w.tier(row)
    horizon, drives = w.scenario.plan.horizon, int(found.values["drives"][row])
    owned = source.kind == "owned"
    purchase: dict[int, float] = {}
    if owned:
        capacity = float(found.values["outlay_usd"][row]) / max(drives, 1)
        before = 0
        for year, size in enumerate(w.model.sizes):
            count = math.ceil(drives * size / w.model.sizes[-1])
            more = max(count - before, 0)
            before = max(before, count)
            sheet.buy(
                name, "storage", f"{tier.drive.id if tier.drive else tier.spec.type}, year {year + 1}", more, "drives", capacity, tier.words
            )
            if more:
                purchase[12 * year] = more * capacity
    else:
        months = sum(w.model.sizes) / 1e12 * 12
        sheet.buy(
            name,
            "storage",
            f"{tier.spec.type} of {source.provider}",
            months,
            "TB-months",
            float(found.values["cost_usd"][row]) / months,
            source.words,
        )
    sheet.flow(
        name, horizon_s=horizon, start_s=0.0, end_s=horizon, purchase=purchase, life_years=round(LIFE_YEARS), rent_usd_per_s=0.0 if owned else float(found.parts["devices"][row]) / horizon,
        rent_end_s=horizon, fixed_usd_per_s=0.0, fixed_end_s=0.0, running_usd_per_s=float(found.parts["electricity"][row]) / horizon, nodes=[0.0],
        power_w=[float(found.values["power_w"][row]) * size / w.model.sizes[-1] for size in w.model.sizes],
    )  # fmt: skip
    sheet.pen(BUILD, name, "storage")(
        "drives", float(drives), why=f"raw over the drive’s capacity; {tier.spec.per_rack} in a rack" if owned else "the provider’s"
    )
    add = sheet.pen(BUILD, name, "compute")
    add("racks", float(found.values["racks"][row]), why="drives over the drives of a rack")
    add("facility power", float(found.values["power_w"][row]), "power_w", f"PUE {source.pue:.3g}")
    sheet.pen(BUILD, name, "network")("ports for the read rate", math.ceil((w.model.goal.read or 0.0) / 50e9), why="of 400 Gbit/s")
    move = w.model.goal.size / WAN_BYTES_PER_S
    sheet.pen(BUILD, name, "data")("time for the data to arrive", move, "arrive_s", "d/v over 100 Gbit/s", "a wider port, in proportion")
    sheet.pen(BUILD, name, "AI platform")("readable for training from", move, "arrive_s", "when all has arrived; parts of it earlier")
    sheet.pen(BUILD, name, "governance")(
        "money bound", float(found.values["outlay_usd"][row]), "outlay_usd", "drives over the horizon" if owned else "rent over the horizon"
    )


def _tune(w: StoreWork, sheet: Sheet, found: Candidates, row: int) -> None:
    name, goal, model = found.goal, w.model.goal, w.model
    before = len(sheet.savings)
    cost, size, years = float(found.values["cost_usd"][row]), model.sizes[-1], w.scenario.plan.horizon / YEAR_S
    owned = w.source_of(row).kind == "owned"
    code = erasure_coded(8, 3)
    if owned and float(model.redundancy.factor) > float(code.factor):
        share = 1.0 - float(code.factor) / float(model.redundancy.factor)
        raw = size * float(model.redundancy.factor) / FILL_FRAC
        sheet.save(
            name,
            "storage",
            "erasure code 8+3 in place of copies",
            f"{float(model.redundancy.factor):.3g} raw bytes a byte",
            f"{float(code.factor):.3g}",
            "raw capacity in proportion; a repair reads 8 bytes for one",
            usd=cost * share,
            bytes=raw * share,
        )
    if goal.hot < 1.0:
        tape = w.catalog.storage("tape-lto-9")
        cold = size * (1.0 - goal.hot)
        price = 2 * cold * float(tape.price_usd_per_byte or 0.0)
        sheet.save(
            name,
            "data",
            "tier: what is not in use on two tapes",
            f"all on {w.tier(row).name}",
            f"{readable(size - cold, 'data size', 3)} there, the rest on tape",
            f"{1 - goal.hot:.0%} of the cost over {years:.3g} years less two cartridges’ copies",
            usd=cost * (1.0 - goal.hot) - price,
            bytes=cold,
        )
    if goal.duplicate == 0.0:
        gone, seconds = deduplicated(size, 0.2, cores=32)
        sheet.save(
            name,
            "data",
            "deduplicate, if a fifth repeats",
            readable(size, "data size", 3),
            readable(size - float(gone), "data size", 3),
            f"hash-bound: {readable(float(seconds), 'time', 3)} on 32 cores; the share is an assumption",
            usd=cost * 0.2,
            bytes=float(gone),
        )
    if goal.compression == 1.0:
        share = 1.0 - 1.0 / TEXT_CODEC.ratio
        sheet.save(
            name,
            "data",
            f"compress, where it is text ({TEXT_CODEC.name})",
            readable(size, "data size", 3),
            readable(size * (1 - share), "data size", 3),
            f"ratio {TEXT_CODEC.ratio}; images, video and encrypted data do not shrink; compress before encrypting",
            usd=cost * share,
            bytes=size * share,
        )
    if goal.encrypted:
        cores = float(encryption_cores(goal.read or 0.0))
        sheet.save(
            name, "governance", "self-encrypting drives and ports", f"{cores:.3g} cores at the read rate", "none", "d/v against line rate"
        )
    sheet.save(
        name,
        "governance",
        f"audit {AUDIT_FRAC:.0%} of what is kept each year",
        "nothing read again",
        readable(AUDIT_FRAC * size, "data size", 3),
        f"finds a breach that touches ten objects with {1 - (1 - AUDIT_FRAC) ** 10:.0%}: 1 − (1 − q)^n",
    )
    _best(sheet, name, before)


def _best(sheet: Sheet, name: str, before: int) -> None:
    """Add the best measures of each facet as rows of the step."""
    for facet in FACETS:
        mine = [s for s in sheet.savings[before:] if s["facet"] == facet]
        pen = sheet.pen(TUNE, name, facet)
        if not mine:
            pen("measure", "none applies", why="nothing of this facet changes what keeping the data costs")
        for best in sorted(mine, key=lambda s: -s["saves_usd"] if math.isfinite(s["saves_usd"]) else math.inf)[:2]:
            usd = best["saves_usd"]
            pen(
                best["measure"],
                f"{best['before']} → {best['after']}",
                why=(f"saves {brief('cost_usd', usd)}: " if usd > 0 else "") + best["formula"],
            )


def _keep(w: StoreWork, sheet: Sheet, found: Candidates, row: int) -> None:
    name, source, tier = found.goal, w.source_of(row), w.tier(row)
    drives = float(found.values["drives"][row])
    add = sheet.pen(KEEP, name, "storage")
    if source.kind == "owned" and drives:
        kind = "hdd" if tier.drive is not None and tier.drive.id.startswith("hdd") else "nvme"
        try:
            annual = float(w.catalog.reliability(kind).annual_failure_frac or 0.0)
        except InputError:
            annual = 0.0
        add("drives that fail in a year", drives * annual, why=f"{drives:,.0f} × {annual:.3g} ({kind})")
        spare = spares_needed(drives, failures_per_s=annual / YEAR_S, repair_s=RESTOCK_S)
        add(
            "drives in store",
            float(spare),
            why=f"99 % quantile over {readable(RESTOCK_S, 'time', 3)} of restocking",
            flips="the restocking time",
        )
        drive = tier.drive
        if drive is not None and drive.capacity_bytes and drive.write_bytes_per_s and annual:
            rebuild = float(drive.capacity_bytes) / float(drive.write_bytes_per_s)
            add(
                "time to fill a new drive",
                rebuild,
                "rebuild_s",
                "capacity over write rate; spread rebuilding is faster",
                f"reads {float(w.model.redundancy.repair_read_factor):g} bytes for one",
            )
            copies = min(round(float(w.model.redundancy.losses)) + 1, 3)
            if copies in (2, 3):
                years = float(mttdl_s(YEAR_S / annual, rebuild, copies=copies)) / YEAR_S / max(drives / copies, 1)
                add(
                    "mean years to a loss of data",
                    years,
                    "years",
                    f"{copies} losses at once, independent drives, {drives / copies:,.0f} groups; correlated failures dominate in practice",
                )
    else:
        add("drives that fail", "the provider’s", why="rented")
    sheet.pen(KEEP, name, "compute")(
        "cores that scrub all in a month", w.model.sizes[-1] / MONTH_S / 1.75e9, "", "every byte hashed once a month at 1.75 GB/s a core"
    )
    sheet.pen(KEEP, name, "network")(
        "traffic of scrubbing", w.model.sizes[-1] / MONTH_S, "scrub_bytes_per_s", "every byte read once a month"
    )
    restore = w.model.sizes[-1] / min(WAN_BYTES_PER_S, max(float(found.values["read_bytes_per_s"][row]), 1.0))
    sheet.pen(KEEP, name, "data")(
        "time to restore all of it (recovery time)", restore, "restore_s", "d/v over 100 Gbit/s or the tier’s rate; test it once a quarter"
    )
    sheet.pen(KEEP, name, "AI platform")(
        "data that a day without backup loses (recovery point)",
        w.model.sizes[-1] * w.model.goal.growth / 365.0,
        "lost_bytes",
        "a day of growth",
    )
    sheet.pen(KEEP, name, "governance")(
        "refresh after",
        LIFE_YEARS if source.kind == "owned" else "with the contract",
        "years" if source.kind == "owned" else "",
        "life over which the drives are written off",
    )
