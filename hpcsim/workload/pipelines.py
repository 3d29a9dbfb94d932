"""Data pipelines, planned: what each stage has to carry, compute and wait for, on which nodes and tiers.

A :class:`PipelinePlan` is what a pipeline's spec says with every name looked up. :mod:`hpcsim.workload.pipeline_times` lays it on nodes and
times it; the engine (:mod:`hpcsim.engine.pipelines`) runs the same stages as flows beside everything else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.base.units import readable
from hpcsim.cluster.parts import Cluster, NodeGroup, SourceRow, StorageTier
from hpcsim.cost.pipelines import answers_s, in_flight_bytes, shuffled_bytes, through
from hpcsim.scenario.pipelines import COMPUTING, PipelineSpec, StageSpec
from hpcsim.workload.pipeline_parts import Move, PipelinePlan, StagePlan, Written, redundancy_factor
from hpcsim.workload.tasks import NO_FABRIC

if TYPE_CHECKING:
    from hpcsim.catalog.entries import Entry
    from hpcsim.catalog.lookup import Catalog
    from hpcsim.catalog.methods import DataMethod

__all__ = ["check_tiers", "plan_pipeline"]

T = TypeVar("T")

UNKNOWN_STAGE = problem_kind("unknown-stage", "the pipeline has no stage {name!r}", "{near}")
CYCLE = problem_kind("stage-cycle", "these stages wait for each other: {names}", "let one of them begin with data of its own")
NO_DATA = problem_kind("stage-without-data", "nothing says how much data stage {name!r} begins with", "add {key}")
NO_SOURCE = problem_kind(
    "stage-without-source", "stage {name!r} begins with data that come from nowhere", "add from, a storage tier, or arrives, a rate"
)
NEEDS_COUNT = problem_kind("stage-count", "stage {name!r} needs the number of {what}", "add {key}")
NEEDS_GROUP = problem_kind(
    "pipeline-node-group", "the cluster has several node groups, and nothing says which runs {name!r}", "add nodes, one of: {names}"
)
TOO_MANY = problem_kind(
    "pipeline-nodes", "{count} nodes are more than the {have} of {group!r}", "at most {have}, or more nodes in the group"
)
TOO_MANY_CORES = problem_kind("stage-cores", "{cores} cores are more than the {have} of a node of {group!r}", "at most {have}")
WRONG_METHOD = problem_kind(
    "stage-method", "{method!r} is a {category}, and a stage of kind {kind} needs a {wanted}", "for example {example}"
)
NO_RATIO = problem_kind(
    "stage-content", "the catalog has no ratio of {method!r} for {content!r}; it has {known}", "add ratio, bytes out over bytes in"
)
SEALED = problem_kind(
    "stage-on-encrypted",
    "stage {name!r} works on data that were encrypted before it: {why}",
    "put it before the encryption, or decrypt first",
)
WIDE = problem_kind(
    "shuffle-too-wide", "a shuffle over {nodes} nodes has more flows than the {limit:,} that are followed", "fewer nodes (count)"
)
TIER_FULL = problem_kind(
    "pipeline-tier-full",
    "the pipeline keeps {need} on {tier!r}, which holds {have}",
    "keep it for less time, or give the tier more capacity",
)
MOST_FLOWS = 100_000
"""Flows of one stage that are followed one by one."""

_CATEGORY = {"compress": "codec", "decompress": "codec", "encrypt": "cipher", "decrypt": "cipher", "deduplicate": "hash"}
_EXAMPLE = {"codec": "zstd-1", "cipher": "aes-256-gcm", "hash": "sha-256"}


@dataclass
class _Planner:
    """What the stages of one pipeline share while they are planned."""

    name: str
    spec: PipelineSpec
    cluster: Cluster
    catalog: Catalog
    problems: Problems
    cipher: DataMethod | None = None

    @property
    def path(self) -> str:
        return f"workload.pipelines.{self.name}"

    def kept(self, make: Callable[[], T], path: str) -> T | None:
        """Return what ``make`` returns; its problems are noted."""
        try:
            return make()
        except InputError as error:
            self.problems.absorb(error, path)
            return None

    def order(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return the stages so that each stands after those that it waits for, with the places of these."""
        names, before = list(self.spec.stages), {}
        for at, (name, stage) in enumerate(self.spec.stages.items()):
            default = (names[at - 1],) if at and stage.data is None else ()
            before[name] = stage.after if stage.after is not None else default
            for k, other in enumerate(before[name]):
                if other not in names:
                    near = difflib.get_close_matches(other, names, 1)
                    hint = f"did you mean {near[0]!r}?" if near else "its stages: " + ", ".join(names)
                    self.problems.add(UNKNOWN_STAGE(path=f"{self.path}.stages.{name}.after.{k}", name=other, near=hint))
        self.problems.raise_if_any()
        placed: list[str] = []
        while len(placed) < len(names):
            free = next((n for n in names if n not in placed and all(b in placed for b in before[n])), None)
            if free is None:
                rest = [n for n in names if n not in placed]
                raise CYCLE.error(path=f"{self.path}.stages.{rest[0]}.after", names=", ".join(rest))
            placed.append(free)
        return [(name, tuple(placed.index(b) for b in before[name])) for name in placed]

    def group_of(self, name: str, stage: StageSpec) -> NodeGroup | None:
        """Return the node group of a stage."""
        own = stage.nodes is not None
        wanted = stage.nodes or self.spec.nodes
        if wanted is not None:
            return self.kept(lambda: self.cluster.group(wanted, f"{self.path}.{f'stages.{name}.' if own else ''}nodes"), self.path)
        if len(self.cluster.groups) > 1:
            self.problems.add(NEEDS_GROUP(path=f"{self.path}.stages.{name}", name=name, names=", ".join(self.cluster.groups)))
            return None
        return next(iter(self.cluster.groups.values()))

    def nodes_of(self, name: str, stage: StageSpec, group: NodeGroup) -> int:
        """Return how many nodes run a stage: its own number, the pipeline's on the pipeline's group, else all."""
        shared = self.spec.count if stage.nodes in (None, self.spec.nodes) else None
        count = stage.count or shared or group.count
        if count > group.count:
            place = f"{self.path}.stages.{name}.count" if stage.count else f"{self.path}.count"
            self.problems.add(TOO_MANY(path=place, count=count, have=group.count, group=group.name))
        return min(count, group.count)

    def method_of(self, name: str, stage: StageSpec) -> DataMethod | None:
        """Return the method of a stage, where its kind has one."""
        if stage.method is None:
            return None
        path, wanted = f"{self.path}.stages.{name}.method", _CATEGORY[stage.kind]
        found = self.kept(lambda: self.catalog.data_method(stage.method or ""), path)
        if found is not None and found.category != wanted and not (found.category == "inline" and wanted == "cipher"):
            self.problems.add(
                WRONG_METHOD(
                    path=path, method=stage.method, category=found.category, kind=stage.kind, wanted=wanted, example=_EXAMPLE[wanted]
                )
            )
            return None
        return found

    def cipher_of(self) -> DataMethod | None:
        """Return the cipher of data on their way, where they are encrypted."""
        if self.spec.in_flight is None:
            return None
        name, path = self.spec.in_flight.method, f"{self.path}.in_flight.method"
        found = self.kept(lambda: self.catalog.data_method(name), path)
        if found is not None and found.category not in ("cipher", "inline"):
            kind = "in_flight"
            self.problems.add(
                WRONG_METHOD(path=path, method=name, category=found.category, kind=kind, wanted="cipher", example=_EXAMPLE["cipher"])
            )
        return found

    def ratio_of(self, name: str, stage: StageSpec, method: DataMethod | None) -> float:
        """Return bytes out over bytes in of a stage."""
        if stage.ratio is not None:
            return stage.ratio
        if stage.kind == "deduplicate":
            return 1.0 - (stage.duplicate or 0.0)
        if stage.kind in ("compress", "decompress") and method is not None:
            content = stage.content or "mixed"
            if content not in method.ratio:
                known = ", ".join(method.ratio)
                place = f"{self.path}.stages.{name}.{'content' if stage.content else 'method'}"
                self.problems.add(NO_RATIO(path=place, method=method.id, content=content, known=known))
                return 1.0
            return 1.0 / method.ratio[content] if stage.kind == "compress" else method.ratio[content]
        return 1.0


@dataclass(frozen=True)
class _Amounts:
    """Bytes, records and objects into and out of every stage; of the bytes in, those that it begins with."""

    begin_bytes: list[float]
    in_bytes: list[float]
    out_bytes: list[float]
    records: list[float]
    objects: list[float]
    out_objects: list[float]


def _amounts(p: _Planner, order: list[tuple[str, tuple[int, ...]]], methods: list[DataMethod | None]) -> _Amounts:
    """Return what goes through the stages."""
    spec, own, records, objects = p.spec, [], [], []
    for name, before in order:
        stage = spec.stages[name]
        begins = stage.data if stage.data is not None else (spec.data if not before else 0.0)
        if begins is None:
            p.problems.add(NO_DATA(path=f"{p.path}.stages.{name}", name=name, key=f"{p.path}.data"))
        mine = not before and stage.data is None
        own.append(begins or 0.0)
        records.append(float(spec.records or 0) if mine else 0.0)
        objects.append(float(spec.objects or 0) if mine else 0.0)
    ratios = [p.ratio_of(name, spec.stages[name], method) for (name, _), method in zip(order, methods, strict=True)]
    after = [before for _, before in order]
    into, out = through(np.array(own), np.array(ratios), after)
    less = np.array([1.0 - (spec.stages[name].duplicate or 0.0) for name, _ in order])
    rows, _ = through(np.array(records), less, after)
    found = _Amounts(own, into.tolist(), out.tolist(), rows.tolist(), [], [])
    for k, (name, before) in enumerate(order):
        count = objects[k] + sum(found.out_objects[b] for b in before)
        size = spec.stages[name].shard
        found.objects.append(count)
        found.out_objects.append(math.ceil(found.out_bytes[k] / size) if size else count)
    return found


def _sealed(p: _Planner, order: list[tuple[str, tuple[int, ...]]]) -> None:
    """Note stages that work on encrypted data and cannot."""
    sealed: list[bool] = []
    for name, before in order:
        stage = p.spec.stages[name]
        into = any(sealed[b] for b in before)
        why = ""
        if into and stage.kind in COMPUTING:
            why = "it cannot see them"
        elif into and stage.kind == "compress" and stage.ratio is None and (stage.content or "mixed") != "encrypted":
            why = "they do not shrink"
        if why:
            p.problems.add(SEALED(path=f"{p.path}.stages.{name}", name=name, why=why))
        sealed.append(stage.kind == "encrypt" or (into and stage.kind != "decrypt"))


def _work(stage: StageSpec, method: DataMethod | None, into: float, out: float) -> tuple[float, float]:
    """Return the bytes that the cores of a stage work through, and the rate of one; no bytes where it needs no cores."""
    if stage.rate is not None:
        return into * (1.0 if stage.sample is None else stage.sample), stage.rate
    if method is None or method.core_bytes_per_s is None:
        return 0.0, 1.0
    back = stage.kind in ("decompress", "decrypt")
    rate = method.back_core_bytes_per_s if back and method.back_core_bytes_per_s is not None else method.core_bytes_per_s
    return out if stage.kind == "decompress" else into, rate  # a decompressor's rate counts what comes out


@dataclass
class _Ways:
    """Moves of a stage while they are gathered, with the encryption that they need."""

    p: _Planner
    cipher: DataMethod | None
    moves: list[Move] = dataclasses.field(default_factory=list)
    sealed_bytes: float = 0.0
    first_s: float = 0.0

    def add(self, move: Move, here: str, there: str) -> float:
        """Add a move between two locations and return the bytes that each side encrypts or decrypts on its cores."""
        spec, sealed = self.p.spec.in_flight, 0.0
        if spec is not None and self.cipher is not None and (spec.everywhere or here != there):
            sealed = move.size_bytes if self.cipher.core_bytes_per_s is not None else 0.0
            move = dataclasses.replace(move, size_bytes=float(in_flight_bytes(move.size_bytes, self.cipher.record_frac)))
        self.sealed_bytes += sealed
        self.moves.append(move)
        return sealed


def _location(cluster: Cluster, part: NodeGroup | StorageTier) -> str:
    return cluster.place_of(part).name


def _tier(p: _Planner, name: str, key: str, tier: str | None) -> StorageTier | None:
    return None if tier is None else p.kept(lambda: p.cluster.tier(tier, f"{p.path}.stages.{name}.{key}"), p.path)


def _fabric(p: _Planner, name: str, what: str) -> None:
    if p.cluster.fabric is None:
        p.problems.add(NO_FABRIC(path=f"{p.path}.stages.{name}", what=what))


def _inputs(p: _Planner, ways: _Ways, name: str, at: int, made: list[StagePlan], before: tuple[int, ...], group: NodeGroup, amounts: _Amounts) -> dict[int, float]:  # fmt: skip
    """Gather where a stage's data come from; return the bytes that the nodes of others encrypt for the way."""
    stage, here, theirs = p.spec.stages[name], _location(p.cluster, group), {}  # type: StageSpec, str, dict[int, float]

    def read(tier: StorageTier, size: float, objects: float) -> None:
        ways.add(Move("read", size, tier.name, objects=objects), here, _location(p.cluster, tier))
        ways.first_s += tier.latency_s

    tier = _tier(p, name, "from", stage.from_storage)
    if tier is not None:
        read(tier, amounts.in_bytes[at], amounts.objects[at])
        return {}
    if (not before or stage.data is not None) and stage.arrives is None and stage.from_storage is None:
        p.problems.add(NO_SOURCE(path=f"{p.path}.stages.{name}", name=name))
    for one in before:
        other = made[one]
        kept = other.written if other.kind != "audit" else None
        if p.spec.mode == "staged" and kept is not None:
            read(p.cluster.storage[kept.tier], other.out_bytes, amounts.out_objects[one])
        elif other.group.name != group.name:
            _fabric(p, name, f"a stage that takes data from the nodes of {other.group.name!r}")
            theirs[one] = ways.add(Move("hand", other.out_bytes, source=one), here, _location(p.cluster, other.group))
            if p.cluster.fabric is not None:
                ways.first_s += p.cluster.fabric.latency_s
    return theirs


def _outputs(p: _Planner, ways: _Ways, name: str, at: int, group: NodeGroup, amounts: _Amounts, nodes: int) -> Written | None:
    """Gather where a stage's data go; return what it leaves on a tier."""
    stage, here = p.spec.stages[name], _location(p.cluster, group)
    if stage.kind == "shuffle" and nodes > 1:
        _fabric(p, name, "a shuffle over several nodes")
        if nodes * (nodes - 1) > MOST_FLOWS:
            p.problems.add(WIDE(path=f"{p.path}.stages.{name}", nodes=nodes, limit=MOST_FLOWS))
        sealed = ways.add(Move("shuffle", amounts.in_bytes[at]), here, here)
        ways.sealed_bytes += (
            float(shuffled_bytes(2.0 * sealed, nodes)) - sealed
        )  # what leaves a node is encrypted there and decrypted at the other
    tier = _tier(p, name, "to", stage.to)
    if tier is None:
        return None
    log = stage.kind == "audit"
    size = amounts.records[at] * (stage.log or 0.0) if log else amounts.out_bytes[at]
    ways.add(Move("write", size, tier.name, objects=0.0 if log else amounts.out_objects[at]), here, _location(p.cluster, tier))
    ways.first_s += tier.latency_s
    return Written(tier.name, size, stage.keep, redundancy_factor(tier))


def _answers(p: _Planner, name: str, group: NodeGroup, nodes: int, records: float, objects: float, moves: Sequence[Move]) -> float:
    """Return the time that a stage's streams wait for access checks and for first bytes of objects, all of them together [s]."""
    stage = p.spec.stages[name]
    streams = stage.streams or group.cores or 1
    waiting = 0.0
    if stage.kind == "access-check":
        what = stage.per or "object"
        asked = records if what == "record" else objects
        if not asked:
            p.problems.add(NEEDS_COUNT(path=f"{p.path}.stages.{name}", name=name, what=f"{what}s", key=f"{p.path}.{what}s"))
        waiting += float(answers_s(asked, stage.latency or 0.0, nodes=nodes, streams=streams, batch=stage.batch or 1))
    for move in moves:
        if move.objects:
            waiting += float(answers_s(move.objects, p.cluster.storage[move.tier].latency_s, nodes=nodes, streams=streams))
    return waiting


def _stage(p: _Planner, name: str, before: tuple[int, ...], at: int, amounts: _Amounts, method: DataMethod | None, made: list[StagePlan]) -> tuple[StagePlan, dict[int, float]] | None:  # fmt: skip
    """Return one stage, planned, and the bytes that others encrypt for it; None where it cannot be."""
    stage = p.spec.stages[name]
    group = p.group_of(name, stage)
    if group is None:
        return None
    nodes = p.nodes_of(name, stage, group)
    into, out, records = amounts.in_bytes[at], amounts.out_bytes[at], amounts.records[at]
    if stage.kind == "audit" and not records:
        p.problems.add(NEEDS_COUNT(path=f"{p.path}.stages.{name}", name=name, what="records", key=f"{p.path}.records"))
    cipher = p.cipher
    ways = _Ways(p, cipher)
    theirs = _inputs(p, ways, name, at, made, before, group, amounts)
    written = _outputs(p, ways, name, at, group, amounts, nodes)
    work_bytes, rate = _work(stage, method, into, out)
    if work_bytes + ways.sealed_bytes > 0:
        if p.kept(lambda: group.need("cores"), group.path) is None:
            return None
        if stage.cores is not None and stage.cores > group.cores:  # type: ignore[operator]
            p.problems.add(TOO_MANY_CORES(path=f"{p.path}.stages.{name}.cores", cores=stage.cores, have=group.cores, group=group.name))
    return StagePlan(
        name=name,
        kind=stage.kind,
        group=group,
        nodes=nodes,
        cores=stage.cores or group.cores or 0,
        after=before,
        begin_bytes=amounts.begin_bytes[at],
        in_bytes=into,
        out_bytes=out,
        records=records,
        objects=amounts.objects[at],
        work_bytes=work_bytes,
        core_bytes_per_s=rate,
        flight_bytes=ways.sealed_bytes,
        flight_bytes_per_s=(cipher.core_bytes_per_s if cipher is not None else None) or 1.0,
        device_s=into / (nodes * stage.node_rate) if stage.node_rate else 0.0,
        disk_s=2.0 * into / (nodes * stage.spill) if stage.spill else 0.0,
        arrive_s=(into if stage.data is None else stage.data) / stage.arrives if stage.arrives else 0.0,
        answer_s=_answers(p, name, group, nodes, records, amounts.objects[at], ways.moves),
        first_s=ways.first_s,
        moves=tuple(ways.moves),
        written=written,
    ), theirs  # fmt: skip


def _sealing(p: _Planner, stage: StagePlan, size_bytes: float, bytes_per_s: float) -> StagePlan:
    """Return a stage whose nodes encrypt what others fetch from them."""
    if size_bytes > 0:
        p.kept(lambda: stage.group.need("cores"), stage.group.path)
    cores = stage.cores or stage.group.cores or 0
    return dataclasses.replace(stage, flight_bytes=stage.flight_bytes + size_bytes, flight_bytes_per_s=bytes_per_s, cores=cores)


def check_tiers(plans: Sequence[PipelinePlan], cluster: Cluster, problems: Problems) -> None:
    """Note tiers that do not hold what pipelines begin with there and keep there: as many runs as fall into the time that they keep it."""
    need: dict[str, float] = {}
    most: dict[str, tuple[float, str]] = {}
    begins: dict[str, float] = {}
    for plan in plans:
        for stage in plan.stages:
            for move in stage.moves:
                if move.kind == "read":
                    begins[move.tier] = max(begins.get(move.tier, 0.0), stage.begin_bytes)
            w = stage.written
            if w is not None:
                runs = plan.times if w.keep_s is None or not plan.every_s else min(plan.times, math.ceil(w.keep_s / plan.every_s))
                need[w.tier] = need.get(w.tier, 0.0) + runs * w.size_bytes
                most[w.tier] = max(most.get(w.tier, (0.0, "")), (runs * w.size_bytes, plan.path))
    for name, size in need.items():
        capacity, whole = cluster.storage[name].capacity_bytes, size + begins.get(name, 0.0)
        if capacity is not None and whole > capacity * (1 + 1e-9):
            has, holds = readable(whole, "data size", 3), readable(capacity, "data size", 3)
            problems.add(TIER_FULL(path=most[name][1], tier=name, need=has, have=holds))


def _made(p: _Planner) -> tuple[list[StagePlan], list[tuple[str, tuple[int, ...]]]]:
    """Return the stages of a pipeline, planned, in their order."""
    order = p.order()
    methods = [p.method_of(name, p.spec.stages[name]) for name, _ in order]
    p.cipher = p.cipher_of()
    p.problems.raise_if_any()
    amounts = _amounts(p, order, methods)
    _sealed(p, order)
    p.problems.raise_if_any()
    made: list[StagePlan] = []
    for at, ((name, before), method) in enumerate(zip(order, methods, strict=True)):
        found = _stage(p, name, before, at, amounts, method, made)
        if found is None:
            break  # what follows would only repeat it
        made.append(found[0])
        for one, size in found[1].items():
            made[one] = _sealing(p, made[one], size, found[0].flight_bytes_per_s)
    p.problems.raise_if_any()
    return made, order


def plan_pipeline(name: str, spec: PipelineSpec, cluster: Cluster, catalog: Catalog) -> PipelinePlan:
    """Plan a data pipeline.

    Parameters
    ----------
    name : str
        Name of the pipeline in the scenario.
    spec : PipelineSpec
    cluster : Cluster
    catalog : Catalog
        Where methods are looked up.

    Raises
    ------
    InputError
        Every problem: unknown stages, tiers, groups or methods, stages that wait for each other, missing amounts, more nodes or cores than
        there are, work on encrypted data, data where they may not be.
    """
    from hpcsim.workload.residence import check_residence

    p = _Planner(name, spec, cluster, catalog, Problems())
    stages, _ = _made(p)
    check_residence(p.path, spec, stages, cluster, catalog, p.problems)
    p.problems.raise_if_any()
    groups: dict[str, int] = {}
    for stage in stages:
        groups[stage.group.name] = max(groups.get(stage.group.name, 0), stage.nodes)
    most = max(stage.in_bytes for stage in stages)
    plan = PipelinePlan(
        name=name,
        path=p.path,
        stages=tuple(stages),
        streaming=spec.mode == "streaming",
        chunks=max(most / spec.chunk, 1.0),
        groups=tuple(sorted(groups.items())),  # every item takes its groups in one order, so that none waits for another in a circle
        submit_s=spec.submit,
        every_s=spec.every or 0.0,
        times=spec.times or 1,
        facts=_facts(p),
    )
    back = _way_back(spec, stages)
    if back is not None:
        p.spec = back
        undone, _ = _made(p)
        plan = dataclasses.replace(plan, restore=dataclasses.replace(plan, stages=tuple(undone), times=1, restore=None))
    return plan


def _facts(p: _Planner) -> tuple[SourceRow, ...]:
    """Return what the stages take from the catalog: rates and ratios of methods, and rents."""
    asked: list[tuple[str, Entry, tuple[str, ...]]] = []
    for name, stage in p.spec.stages.items():
        if stage.method is not None:
            rates: tuple[str, ...] = ("core_bytes_per_s", "back_core_bytes_per_s") if stage.rate is None else ()
            ratio: tuple[str, ...] = (
                (f"ratio.{stage.content or 'mixed'}",) if stage.kind in ("compress", "decompress") and stage.ratio is None else ()
            )
            asked.append((f"{p.path}.stages.{name}.method", p.catalog.data_method(stage.method), (*rates, *ratio)))
        tiers: tuple[tuple[str | None, tuple[str, ...]], ...] = (
            (stage.to, ("rent_usd_per_byte_s", "write_price_usd")),
            (stage.from_storage, ("read_price_usd",)),
        )
        for tier, fields in tiers:
            place = p.cluster.storage.get(tier or "")
            if place is not None:
                given = place.rent_usd_per_byte_s is not None
                with contextlib.suppress(InputError):
                    asked.append((f"{place.path}.type", p.catalog.storage(place.kind), fields[1:] if given and len(fields) > 1 else fields))
    if p.spec.in_flight is not None:
        asked.append((f"{p.path}.in_flight.method", p.catalog.data_method(p.spec.in_flight.method), ("core_bytes_per_s", "record_frac")))
    rows = []
    for path, entry, wanted in asked:
        for field in wanted:
            with contextlib.suppress(InputError):  # not every method has every value
                fact = entry.fact(field)
                if fact.source:
                    rows.append(SourceRow(path, fact.name, fact.field, str(fact.value), fact.unit, fact.source, fact.kind))
    return tuple(dict.fromkeys(rows))


_UNDONE: Mapping[str, str] = {"compress": "decompress", "encrypt": "decrypt"}


def _way_back(spec: PipelineSpec, stages: list[StagePlan]) -> PipelineSpec | None:
    """Return the pipeline that brings a backup back: read it, undo what was done on the way there in turn, write where it came from."""
    last = next((k for k, stage in enumerate(stages) if stage.kind == "backup"), None)
    if last is None:
        return None
    backup, way, at = stages[last], [], last
    while stages[at].after:
        at = stages[at].after[0]
        way.append(stages[at])
    first = spec.stages[stages[at].name]
    scale = (spec.stages[backup.name].restores or stages[at].in_bytes) / stages[at].in_bytes if stages[at].in_bytes else 1.0
    held = backup.written.size_bytes if backup.written is not None else backup.out_bytes
    origin = spec.stages[backup.name].model_copy(
        update={"kind": "restore", "from_storage": backup.written.tier if backup.written else None, "to": None, "after": (), "restores": None,
                "data": held * scale, "keep": None, "method": None, "ratio": None}
    )  # fmt: skip
    undone: dict[str, StageSpec] = {"restore": origin}
    for stage in way:
        kind = _UNDONE.get(stage.kind)
        if kind is not None:
            old = spec.stages[stage.name]
            ratio = stage.in_bytes / stage.out_bytes if kind == "decompress" and stage.out_bytes else None
            undone[f"un-{stage.name}"] = old.model_copy(
                update={"kind": kind, "from_storage": None, "to": None, "after": None, "data": None, "rate": None, "ratio": ratio}
            )
    if first.from_storage is not None:
        undone["put-back"] = first.model_copy(
            update={"kind": "restore", "from_storage": None, "to": first.from_storage, "after": None, "data": None, "rate": None, "ratio": None,
                    "node_rate": None, "method": None, "arrives": None, "keep": None, "restores": None}
        )  # fmt: skip
    return spec.model_copy(update={"stages": undone, "every": None, "times": None})
