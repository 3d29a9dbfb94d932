"""Data pipelines of a run: their items, the rows of the table ``stages``, what keeping data costs, recovery, and what security takes."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import InputError
from hpcsim.base.units import readable
from hpcsim.catalog.lookup import Catalog
from hpcsim.cluster.parts import StorageTier
from hpcsim.cluster.ways import Ways
from hpcsim.cost.pipelines import kept_byte_s, recovery_point_s
from hpcsim.results.quantities import brief
from hpcsim.run.accounting import Account
from hpcsim.run.bind import Bound
from hpcsim.run.holdings import node_span_w
from hpcsim.run.record import Item, Record
from hpcsim.workload.pipeline_parts import PipelinePlan, StagePlan
from hpcsim.workload.pipeline_times import Laid, Resource, lay_first

__all__ = ["Staged", "answer_of_pipelines", "closed_items", "energy_j", "in_words", "keeping_words", "pipeline_items", "pipeline_notes", "pipeline_summary", "repeats_words", "settle", "stage_rows", "with_keeping"]  # fmt: skip

FloatArray = npt.NDArray[np.float64]
_SLIGHT = 1e-5
"""Share of a pipeline's time below which what security adds is the passing of one chunk."""
_MOST_TOLD = 3
"""Pipelines of which the answer tells."""
MONTH_S = 2_629_746.0
"""A twelfth of a year."""


@dataclass(frozen=True)
class Staged:
    """One run of a pipeline, stage by stage: arrays of shape (stages,), NaN where a stage has not begun or ended."""

    laid: Laid
    begins_s: FloatArray
    ends_s: FloatArray

    def done_frac(self, until_s: float) -> FloatArray:
        """Return the share of each stage that is done by ``until_s``; of one that is cut off, as if it had gone undisturbed."""
        alone = self.laid.total_s if self.laid.plan.streaming else self.laid.alone_s
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.clip((until_s - self.begins_s) / alone, 0.0, 1.0)
        return np.where(np.isnan(self.ends_s), np.nan_to_num(part), 1.0)


def pipeline_items(bound: Bound, ways: Ways | None) -> list[Item]:
    """Return an item for every run of every pipeline, with its time alone on the first nodes as its estimate."""
    items = []
    for plan in bound.pipelines:
        assert ways is not None
        total_s = lay_first(plan, ways).total_s
        for number in range(plan.times):
            items.append(Item(plan, dict(plan.groups), plan.submit_s + number * plan.every_s, total_s, number=number))
    return items


def closed_items(bound: Bound, ways: Ways | None) -> list[Item]:
    """Return the items in closed form: each run alone on the first nodes."""
    items = pipeline_items(bound, ways)
    laid = {plan.name: lay_first(plan, ways) for plan in bound.pipelines} if ways is not None else {}
    for item in items:
        assert isinstance(item.plan, PipelinePlan)
        own = laid[item.plan.name]
        begins, ends = own.windows_s()
        item.start_s, item.end_s, item.status = item.submit_s, item.submit_s + own.total_s, "finished"
        item.done_s = own.total_s
        settle(item, Staged(own, item.start_s + begins, item.start_s + ends), math.inf)
    return items


def energy_j(stage: StagePlan) -> float:
    """Return what a stage's work takes above idle [J]: node-time on its cores at their power, and on its devices at that of the node."""
    group = stage.group
    cores = (stage.core_s + stage.flight_core_s) / (group.cores or 1)
    cpu_w = group.max_w - group.idle_w if group.max_w is not None and group.idle_w is not None else 0.0
    return cores * cpu_w + stage.nodes * stage.device_s * node_span_w(group)


def settle(item: Item, staged: Staged, now_s: float) -> None:
    """Write down on an item when its stages went, and what they drew."""
    item.staged = staged
    for stage, begin, end, part in zip(
        staged.laid.plan.stages, staged.begins_s.tolist(), staged.ends_s.tolist(), staged.done_frac(now_s).tolist(), strict=True
    ):
        stop = now_s if math.isnan(end) else end
        if not math.isnan(begin) and stop > begin:
            item.stretches.append((stage.group.name, begin, stop, part * energy_j(stage) / (stop - begin)))


def _pipes(record: Record) -> Iterator[tuple[int, Item, Staged]]:
    for k, item in enumerate(record.items):
        if isinstance(item.staged, Staged):
            yield k, item, item.staged


def _rent(tier: StorageTier, catalog: Catalog) -> float | None:
    """Return the price of keeping a raw byte for a second: the scenario's, or that of the catalog's entry."""
    if tier.rent_usd_per_byte_s is not None:
        return tier.rent_usd_per_byte_s
    try:
        return catalog.storage(tier.kind).rent_usd_per_byte_s
    except InputError:
        return None


def _kept_usd(record: Record, item: Item, staged: Staged) -> FloatArray:
    """Return what it costs to keep what each stage of a run wrote; NaN where the rent is not known, shape (stages,)."""
    usd = np.zeros(len(staged.laid.plan.stages))
    for k, stage in enumerate(staged.laid.plan.stages):
        if stage.written is not None and not math.isnan(staged.ends_s[k]):
            rent = _rent(record.bound.cluster.storage[stage.written.tier], record.bound.catalog)
            usd[k] = math.nan if rent is None else rent * _kept_byte_s(record, staged, k)
    return usd


def _kept_byte_s(record: Record, staged: Staged, k: int) -> float:
    """Return the raw byte-seconds for which what a stage wrote is kept."""
    written = staged.laid.plan.stages[k].written
    assert written is not None
    kept_s = written.keep_s if written.keep_s is not None else max(record.end_s - float(staged.ends_s[k]), 0.0)
    return float(kept_byte_s(written.size_bytes, factor=written.factor, kept_s=kept_s))


def _requests(record: Record, stage: StagePlan) -> list[tuple[str, float, float]]:
    """Return tier, number and cost [USD] of the requests of a stage, where the catalog prices them."""
    found = []
    for move in stage.moves:
        if move.objects and move.tier:
            with contextlib.suppress(InputError):
                entry = record.bound.catalog.storage(record.bound.cluster.storage[move.tier].kind)
                price = entry.read_price_usd if move.kind == "read" else entry.write_price_usd
                if price is not None:
                    found.append((move.tier, move.objects, move.objects * price))
    return found


def _asked_usd(record: Record, staged: Staged) -> FloatArray:
    """Return what the requests of each stage cost as far as it is done [USD], shape (stages,)."""
    part = staged.done_frac(record.end_s)
    return np.array([part[k] * sum(usd for *_, usd in _requests(record, stage)) for k, stage in enumerate(staged.laid.plan.stages)])


def with_keeping(record: Record, done: Account) -> Account:
    """Return an account with the rent of what pipelines keep on storage tiers, and their requests, added."""
    amount: dict[str, tuple[float, float]] = {}
    asked: dict[str, tuple[float, float]] = {}
    for _, item, staged in _pipes(record):
        for stage, part in zip(staged.laid.plan.stages, staged.done_frac(record.end_s).tolist(), strict=True):
            for tier, number, usd in _requests(record, stage):
                before, paid = asked.get(tier, (0.0, 0.0))
                asked[tier] = before + part * number, paid + part * usd
        for k, (stage, usd) in enumerate(zip(staged.laid.plan.stages, _kept_usd(record, item, staged).tolist(), strict=True)):
            if stage.written is not None and not math.isnan(usd) and not math.isnan(staged.ends_s[k]):
                byte_s, cost = amount.get(stage.written.tier, (0.0, 0.0))
                amount[stage.written.tier] = byte_s + _kept_byte_s(record, staged, k), cost + usd
    if not amount and not asked:
        return done
    costs = {key: list(values) for key, values in done.costs.items()}
    rows = [("data kept", tier, byte_s / 1e12 / MONTH_S, "TB-months", usd) for tier, (byte_s, usd) in amount.items()]
    rows += [("requests", tier, number, "requests", usd) for tier, (number, usd) in asked.items()]
    for row in rows:
        for key, value in zip(("item", "group", "quantity", "unit", "usd"), row, strict=True):
            costs[key].append(value)
    return dataclasses.replace(done, costs=costs, summary={**done.summary, "cost_usd": float(np.sum(costs["usd"]))})


def stage_rows(record: Record, done: Account, *, powered: bool, billable: bool) -> dict[str, list[Any]]:
    """Return the columns of the table ``stages``."""
    first = len(record.batch.jobs) if record.batch else 0
    rows: list[dict[str, Any]] = []
    for number, item, staged in _pipes(record):
        laid = staged.laid
        part = staged.done_frac(record.end_s)
        weight = laid.alone_s / laid.alone_s.sum() if laid.alone_s.sum() > 0 else np.zeros(len(part))
        bill = float(done.job_usd[first + number]) * weight
        kept = np.nan_to_num(_kept_usd(record, item, staged)) + _asked_usd(record, staged)
        for k, stage in enumerate(laid.plan.stages):
            begin, end = float(staged.begins_s[k]), float(staged.ends_s[k])
            if math.isnan(begin):
                continue
            stop = record.end_s if math.isnan(end) else end
            bound = laid.bound_by[k] or Resource("nothing", "")
            written = stage.written.size_bytes if stage.written is not None else 0.0
            rows.append(
                {
                    "name": laid.plan.name,
                    "run": item.number,
                    "stage": stage.name,
                    "kind": stage.kind,
                    "group": stage.group.name,
                    "nodes": stage.nodes,
                    "in_bytes": part[k] * stage.in_bytes,
                    "out_bytes": part[k] * stage.out_bytes,
                    "written_bytes": part[k] * written,
                    "bytes_per_s": part[k] * stage.in_bytes / (stop - begin) if stop > begin else math.nan,
                    "bound_by": bound.kind,
                    "bound_at": bound.name or None,
                    "alone_s": float(laid.alone_s[k]),
                    "start_s": begin,
                    "end_s": stop,
                    "node_time_s": part[k] * stage.node_time_s,
                    "energy_j": part[k] * energy_j(stage) if powered else math.nan,
                    "cost_usd": bill[k] + kept[k] if billable else math.nan,
                }
            )
    return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}


def _laid(record: Record) -> dict[str, Laid]:
    """Return each pipeline as it was laid on its nodes the first time that it ran."""
    found: dict[str, Laid] = {}
    for _, item, staged in _pipes(record):
        found.setdefault(item.plan.name, staged.laid)
    return found


def pipeline_summary(record: Record, done: Account, *, billable: bool) -> dict[str, float]:
    """Return what a summary says of pipelines: bytes through them, what is kept, recovery, and what security and governance take."""
    laid = _laid(record)
    if not laid:
        return {}
    pipes = list(_pipes(record))
    stages = [(staged.laid.plan.stages[k], float(part)) for _, _, staged in pipes for k, part in enumerate(staged.done_frac(record.end_s))]
    ended = [item.end_s - item.start_s for _, item, _ in pipes if item.status == "finished"]
    found = {
        **({"pipeline_time_s": max(ended)} if ended else {}),
        "pipeline_bytes": sum(stage.begin_bytes * part for stage, part in stages),
        "kept_bytes": sum(_kept_at_end(record, item, staged) for _, item, staged in pipes),
        **_recovery(record, laid),
    }
    guarded = {name: own for name, own in laid.items() if any(s.private or s.flight_core_s > 0 for s in own.plan.stages)}
    if not guarded:
        return found
    ways = Ways(record.bound.cluster)
    both = {name: (lay_first(own.plan, ways), lay_first(own.plan.without_security(), ways)) for name, own in guarded.items()}
    added = [_added_s(staged, record.end_s, *both[item.plan.name]) if item.plan.name in both else (0.0, 0.0) for _, item, staged in pipes]
    found["security_time_s"] = sum(more for more, _ in added)
    found["security_node_time_s"] = sum(
        part * (stage.node_time_s if stage.private else stage.flight_core_s / (stage.group.cores or 1)) for stage, part in stages
    )
    if billable:
        found["security_cost_usd"] = _security_usd(record, done, [more / spent if spent else 0.0 for more, spent in added])
    return found


def _added_s(staged: Staged, until_s: float, whole: Laid, plain: Laid) -> tuple[float, float]:
    """Return the time that security adds to a run as far as it is done, and the time of what is done, both of the run alone [s]."""
    more = whole.total_s - plain.total_s
    part = staged.done_frac(until_s)
    if more <= _SLIGHT * whole.total_s:
        return 0.0, whole.total_s
    if whole.plan.streaming:
        return float(part.max()) * more, float(part.max()) * whole.total_s
    return float(part @ (whole.alone_s - plain.alone_s)), float(part @ whole.alone_s)


def _security_usd(record: Record, done: Account, share: Sequence[float]) -> float:
    """Return the bill of the time that security adds, by its share in each run, and of keeping its logs."""
    first = len(record.batch.jobs) if record.batch else 0
    usd = 0.0
    for place, (number, item, staged) in enumerate(_pipes(record)):
        usd += float(done.job_usd[first + number]) * share[place]
        kept = np.nan_to_num(_kept_usd(record, item, staged))
        usd += sum(float(kept[k]) for k, stage in enumerate(staged.laid.plan.stages) if stage.kind == "audit")
    return usd


def _kept_at_end(record: Record, item: Item, staged: Staged) -> float:
    """Return the raw bytes that a run wrote, by stages that ended, and that are still kept at the end."""
    size = 0.0
    for k, stage in enumerate(staged.laid.plan.stages):
        w = stage.written
        end_s = float(staged.ends_s[k])
        if w is not None and not math.isnan(end_s) and (w.keep_s is None or end_s + w.keep_s > record.end_s):
            size += w.size_bytes * w.factor
    return size


def _recovery(record: Record, laid: Mapping[str, Laid]) -> dict[str, float]:
    """Return worst recovery point and time over the pipelines that back up: period and transfer, or the longest that data stood without a copy.

    A pipeline of which no backup was complete by the end has neither.
    """
    points, times = [], []
    ways = Ways(record.bound.cluster) if any(own.plan.restore is not None for own in laid.values()) else None
    for name, own in laid.items():
        plan = own.plan
        if plan.restore is None or ways is None:
            continue
        runs, whole = [item for _, item, _ in _pipes(record) if item.plan.name == name], _complete(record, name)
        if not whole:
            continue  # there is nothing to go back to
        times.append(lay_first(plan.restore, ways).total_s)
        gaps = [later.end_s - sooner.start_s for sooner, later in itertools.pairwise(whole)]
        if len(runs) > len(whole):
            gaps.append(record.end_s - whole[-1].start_s)
        if plan.every_s:
            points.append(max([float(recovery_point_s(plan.every_s, own.total_s)), *gaps]))
    return {**({"recovery_point_s": max(points)} if points else {}), **({"recovery_time_s": max(times)} if times else {})}


_AT = {
    "processor": "the processors of {}",
    "device": "the devices of {}",
    "disk": "the local disks of {}",
    "arrival": "the arrival of data in {}",
    "answers": "waiting for answers in {}",
    "read": "reading {}",
    "write": "writing {}",
    "network": "the link {}",
}


def in_words(resource: Resource | None) -> str:
    """Return a resource for a reader."""
    return _AT[resource.kind].format(resource.name) if resource is not None else "nothing"


def _complete(record: Record, name: str) -> list[Item]:
    """Return the runs of a pipeline that were complete, in the order in which they began."""
    whole = [item for _, item, _ in _pipes(record) if item.plan.name == name and item.status == "finished"]
    return sorted(whole, key=lambda item: item.start_s)


def pipeline_notes(record: Record) -> list[str]:
    """Say what decides each pipeline, how it would recover, and what is not priced."""
    notes = []
    for name, own in _laid(record).items():
        first, last = own.plan.stages[0], own.plan.stages[-1]
        notes.append(
            f"Pipeline {name}: {readable(first.in_bytes, 'data size', 3)} in, {readable(last.out_bytes, 'data size', 3)} out; alone it takes "
            f"{readable(own.total_s, 'time', 3)}, bound by {in_words(own.narrowest)}{_twice(own)}."
        )
        if own.plan.restore is not None and not _complete(record, name):
            notes.append(f"Pipeline {name}: no backup was complete by the end, so that there is nothing to restore.")
        elif own.plan.restore is not None:
            notes.append(
                f"Pipeline {name}: a restore reads the backup, undoes what was done on the way, and writes it back, alone on the same nodes; "
                "the time to notice and to decide comes on top."
            )
        tiers = {s.written.tier for s in own.plan.stages if s.written is not None}
        bare = sorted(t for t in tiers if _rent(record.bound.cluster.storage[t], record.bound.catalog) is None)
        if bare and record.bound.cluster.prices:
            notes.append(f"Keeping data on {', '.join(bare)} costs nothing here; add cluster.storage.<tier>.rent.")
    return notes


def _twice(own: Laid) -> str:
    """Return what twice as much of what bounds a pipeline would save, and what bounds it then."""
    more = own.doubled()
    saved = 1.0 - more.total_s / own.total_s if own.total_s > 0 else 0.0
    if saved < 0.005:
        return ""
    then = "" if in_words(more.narrowest) == in_words(own.narrowest) else f", and {in_words(more.narrowest)} would bind then"
    return f"; twice as much of it saves {100 * saved:.3g} %{then}"


def answer_of_pipelines(record: Record, summary: Mapping[str, Any]) -> str:
    """Return what the answer says of pipelines, besides the time of all: each one's own and what bounds it, recovery, and security."""
    laid = _laid(record)
    if not laid:
        return ""
    ranked = sorted(laid.values(), key=lambda own: -own.total_s)[:_MOST_TOLD]
    text = "".join(_of_one(record, own) for own in ranked)
    if "recovery_time_s" in summary:
        back = f"a restore takes {readable(summary['recovery_time_s'], 'time', 3)}"
        lost = f"what changed in {readable(summary['recovery_point_s'], 'time', 3)}" if "recovery_point_s" in summary else ""
        text += f" At worst {lost} is lost, and {back}." if lost else f" {back[0].upper()}{back[1:]}."
    if "security_time_s" in summary:
        added, whole = summary["security_time_s"], sum(item.stop_s(record.end_s) - item.start_s for _, item, _ in _pipes(record))
        usd, logs = summary.get("security_cost_usd", 0.0), sum(rent for rent, stage in _kept_by_stage(record) if stage.kind == "audit")
        rent = f" ({brief('cost_usd', logs)} of it rent of the logs)" if logs >= 0.01 else ""
        worth = f" and {brief('cost_usd', usd)}{rent}" if usd >= 0.01 else ""
        text += (
            f" Security and governance add {readable(added, 'time', 3)}{worth}."
            if added > 1e-3 * whole
            else f" Security and governance add no time{worth and f', {worth[5:]}'}: they work beside what is slower."
        )
    return text


def _kept_by_stage(record: Record) -> list[tuple[float, StagePlan]]:
    """Return the rent of what each stage of each run wrote [USD], nothing where it is not known, with the stage."""
    return [
        (float(usd), stage)
        for _, item, staged in _pipes(record)
        for usd, stage in zip(np.nan_to_num(_kept_usd(record, item, staged)), staged.laid.plan.stages, strict=True)
    ]


def keeping_words(record: Record, summary: Mapping[str, Any]) -> str:
    """Return which parts of the bill are processing and keeping, in words; empty where keeping is less than a hundredth of it."""
    rents = _kept_by_stage(record)
    kept, whole = sum(usd for usd, _ in rents), summary.get("cost_usd", 0.0)
    if not kept > 0.01 * whole:
        return ""
    by_stage: dict[str, float] = {}
    for usd, stage in rents:
        by_stage[stage.name] = by_stage.get(stage.name, 0.0) + usd
    most = max(by_stage, key=lambda name: by_stage[name])
    written = next(stage.written for _, stage in rents if stage.name == most)
    assert written is not None
    days = f"for {written.keep_s / 86400.0:,.4g} days" if written.keep_s is not None else "to the end"
    share = f"{brief('cost_usd', by_stage[most])} of it for " if by_stage[most] < 0.9999 * kept else ""
    tail = f"{share}what {most} wrote to {written.tier}, {days}"
    return f" ({brief('cost_usd', whole - kept)} for processing, {brief('cost_usd', kept)} for keeping data: {tail})"


def repeats_words(record: Record) -> str:
    """Return how much of the time of all passes between the first and the last run of the pipeline that repeats longest; empty where none does."""
    plans = [own.plan for own in _laid(record).values() if own.plan.times > 1 and own.plan.every_s]
    if not plans:
        return ""
    plan = max(plans, key=lambda plan: (plan.times - 1) * plan.every_s)
    return f"{readable((plan.times - 1) * plan.every_s, 'time', 3)} of it from the first to the last of {plan.times:,} runs of {plan.name}"


def _of_one(record: Record, own: Laid) -> str:
    """Return how long a pipeline takes, alone and at most, and what bounds it alone."""
    runs = [item.end_s - item.start_s for _, item, _ in _pipes(record) if item.plan.name == own.plan.name and item.status == "finished"]
    most = max(runs, default=own.total_s)
    later = f" alone, {readable(most, 'time', 3)} at most," if most > own.total_s * 1.01 else ","
    later = f" a run{later}" if own.plan.times > 1 else later
    return f" {own.plan.name[0].upper()}{own.plan.name[1:]} takes {readable(own.total_s, 'time', 3)}{later} bound by {in_words(own.narrowest)}."
