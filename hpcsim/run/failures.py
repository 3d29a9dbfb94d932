"""The failures of a scenario as objects: rates and repairs by cause, alarms, and what a run is expected to lose to them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.base.reuse import kept
from hpcsim.base.units import readable
from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.reliability import Exposure, exposed
from hpcsim.engine.failures import Cause, Tally, Watch
from hpcsim.scenario.failures import FailuresSpec, PredictionSpec
from hpcsim.workload.training import TrainingPlan

if TYPE_CHECKING:
    from hpcsim.catalog.economy import Reliability

__all__ = ["Breakage", "RunFaults", "breakage_of", "counted", "expected_loss", "failure_rows", "node_figures", "taken_s", "tallied"]

NO_RATE = problem_kind("failure-type-rate", "catalog entry {name!r} has no rate of node failures", "take one of {known}, or give mtbf")
CAUSE_TWICE = problem_kind(
    "failure-cause-twice",
    "the causes of {type!r} have one named {name!r} already",
    "give this cause another name, or mtbf in place of type",
)
NOTHING_TO_SAVE = problem_kind(
    "prediction-without-checkpoint",
    "at an alarm {run} would save its work, and it has no checkpoint",
    "give workload.training.{run}.checkpoint",
)

_MENDED = frozenset({"software", "dependency", "watchdog-unknown"})
"""Causes of catalog entries that a restart mends: no node is lost."""


@dataclass(frozen=True)
class _Kind:
    name: str
    mtbf_s: float
    of: Literal["node", "accelerator", "run"]
    repair_s: float
    detect_s: float


@dataclass(frozen=True)
class RunFaults:
    """The failures of one run: causes with the run's rates, and what is done at alarms."""

    causes: tuple[Cause, ...] = ()
    watch: Watch | None = None

    @property
    def failures_per_s(self) -> float:
        """Rate of all failures."""
        return sum(cause.per_s for cause in self.causes)

    @property
    def announced_per_s(self) -> float:
        """Rate of those that an alarm precedes."""
        recall = self.watch.recall_frac if self.watch else 0.0
        return recall * sum(cause.per_s for cause in self.causes if cause.foreseen)

    @property
    def false_alarms_per_s(self) -> float:
        """Rate of alarms that no failure follows."""
        return self.announced_per_s * (1.0 / self.watch.precision_frac - 1.0) if self.watch else 0.0

    def rates(self, which: Literal["all", "sudden", "announced"]) -> list[float]:
        """Return the rate of each cause's failures: all, those that no alarm precedes, or the others."""
        recall = self.watch.recall_frac if self.watch else 0.0
        parts = [recall if cause.foreseen else 0.0 for cause in self.causes]
        share = {"all": [1.0] * len(parts), "sudden": [1.0 - part for part in parts], "announced": parts}[which]
        return [cause.per_s * part for cause, part in zip(self.causes, share, strict=True)]

    def mean_s(self, field: str, which: Literal["all", "sudden", "announced"] = "all") -> float:
        """Return a time of the causes, weighted by the rates of such failures [s]."""
        rates = self.rates(which)
        whole = sum(rates)
        return sum(rate * getattr(cause, field) for rate, cause in zip(rates, self.causes, strict=True)) / whole if whole > 0 else 0.0


@dataclass(frozen=True)
class Breakage:
    """All that breaks in a scenario.

    Attributes
    ----------
    kinds : tuple
        Causes with the mean time between failures of one node, accelerator or run.
    crew : int
        Repairs at once in a group; 0 for as many as there are broken nodes.
    prediction : PredictionSpec, optional
    """

    kinds: tuple[_Kind, ...]
    crew: int
    prediction: PredictionSpec | None

    def of_node(self, per_node: int) -> tuple[Cause, ...]:
        """Return the causes with the rates of one node of ``per_node`` accelerators; faults of runs are left out."""
        found = []
        for kind in self.kinds:
            if kind.of != "run":
                units = per_node if kind.of == "accelerator" else 1
                found.append(Cause(kind.name, units / kind.mtbf_s, kind.repair_s, kind.detect_s))
        return tuple(cause for cause in found if cause.per_s > 0)

    def of_run(self, nodes: int, devices: int) -> tuple[Cause, ...]:
        """Return the causes with the rates of a training run on ``nodes`` nodes with ``devices`` accelerators."""
        units = {"node": nodes, "accelerator": devices, "run": 1}
        every = [
            Cause(k.name, units[k.of] / k.mtbf_s, k.repair_s, k.detect_s, foreseen=k.of != "run" and k.repair_s > 0) for k in self.kinds
        ]
        return tuple(cause for cause in every if cause.per_s > 0)

    def sudden_per_s(self, nodes: int, devices: int) -> float:
        """Return the rate of the failures of a run that no alarm precedes [1/s]: what the interval between checkpoints is for."""
        recall = self.prediction.recall if self.prediction else 0.0
        return sum(cause.per_s * (1.0 - recall if cause.foreseen else 1.0) for cause in self.of_run(nodes, devices))

    def act_s(self, plan: TrainingPlan) -> float:
        """Return the time that an alarm takes of a run [s]."""
        spec = self.prediction
        if spec is None:
            return 0.0
        if spec.time is not None:
            return spec.time
        return plan.checkpoint_write_s + plan.checkpoint_lag_s + (plan.checkpoint_read_s if spec.act == "migrate" else 0.0)

    def faults_of(self, plan: TrainingPlan) -> RunFaults:
        """Return the failures of one run; alarms that come too late to act on are none."""
        spec, act_s = self.prediction, self.act_s(plan)
        watch = None
        if spec is not None and spec.recall > 0 and act_s <= spec.lead:
            watch = Watch(spec.recall, spec.precision, act_s, spec.act == "migrate")
        return RunFaults(self.of_run(plan.nodes, plan.devices), watch)

    def note(self, plan: TrainingPlan) -> tuple[str, ...]:
        """Say that alarms come too late for a run, where they do."""
        spec, act_s = self.prediction, self.act_s(plan)
        if spec is None or act_s <= spec.lead:
            return ()
        return (
            f"Training {plan.name}: an alarm comes {readable(spec.lead, 'time', 3)} before the failure and acting on it takes "
            f"{readable(act_s, 'time', 3)}, so alarms are of no use to it (failures.prediction.lead, failures.prediction.time).",
        )


def _typed(spec: FailuresSpec, catalog: Catalog) -> list[_Kind]:
    assert spec.node is not None
    name = spec.node.type or ""
    entry = cast("Reliability", catalog.find("reliability", name))
    mtbf_s = entry.node_mtbf_s
    if mtbf_s is None:
        have = [n for n in catalog.names("reliability") if cast("Reliability", catalog.find("reliability", n)).node_mtbf_s]
        raise NO_RATE.error(path="failures.node.type", name=name, known=", ".join(have))
    count = sum(entry.causes.values())
    if not count:
        return [_Kind("node", mtbf_s, "node", spec.node.repair, spec.detect)]
    return [
        _Kind(cause, mtbf_s * count / times, "node", 0.0 if cause in _MENDED else spec.node.repair, spec.detect)
        for cause, times in entry.causes.items()
        if times > 0
    ]


def breakage_of(spec: FailuresSpec, catalog: Catalog) -> Breakage | None:
    """Return what breaks; None where nothing does.

    Raises
    ------
    InputError
        An unknown catalog entry, one without a rate, a cause that is there twice.
    """
    if not spec.any:
        return None
    problems, kinds = Problems(), []
    if spec.node is not None and spec.node.type is not None:
        try:
            kinds = _typed(spec, catalog)
        except InputError as error:
            problems.absorb(error, "failures.node.type")
    elif spec.node is not None:
        kinds = [_Kind("node", float(spec.node.mtbf or math.inf), "node", spec.node.repair, spec.detect)]
    taken = {kind.name for kind in kinds}
    for name, cause in spec.causes.items():
        if name in taken:
            problems.add(
                CAUSE_TWICE(path=f"failures.causes.{name}", type=(spec.node.type if spec.node else "") or "failures.node", name=name)
            )
        detect_s = spec.detect if cause.detect is None else cause.detect
        kinds.append(_Kind(name, cause.mtbf, cause.of, cause.repair, detect_s))
    problems.raise_if_any()
    return Breakage(tuple(kinds), spec.crew or 0, spec.prediction)


def node_figures(spec: FailuresSpec, catalog: Catalog, per_node: int) -> tuple[float, float]:
    """Return the mean time between failures of a node with ``per_node`` accelerators, of all causes, and its mean repair [s].

    Infinite and 0 where nothing breaks. Faults of runs are left out.
    """
    found = breakage_of(spec, catalog)
    faults = RunFaults(found.of_node(per_node)) if found else RunFaults()
    rate = faults.failures_per_s
    return (1.0 / rate, faults.mean_s("repair_s")) if rate > 0 else (math.inf, 0.0)


def expected_loss(plan: TrainingPlan, faults: RunFaults, *, spares: bool = True) -> Exposure:
    """Return what a training run is expected to take among its failures; with ``spares`` a node is there at once."""
    interval_s = plan.checkpoint_interval_s if math.isfinite(plan.checkpoint_interval_s) else max(plan.work_s, 1e-300)
    watch = faults.watch
    wait = 0.0 if spares else 1.0
    given: dict[str, Any] = {
        "interval_s": interval_s,
        "checkpoint_s": plan.checkpoint_write_s,
        "recovery_s": plan.recovery_s,
        "failures_per_s": faults.failures_per_s,
        "downtime_s": faults.mean_s("detect_s", "sudden") + wait * faults.mean_s("repair_s", "sudden"),
        "again_downtime_s": faults.mean_s("detect_s") + wait * faults.mean_s("repair_s"),
        "announced_per_s": faults.announced_per_s,
        "false_alarms_per_s": faults.false_alarms_per_s,
        "act_s": watch.act_s if watch else 0.0,
        "announced_downtime_s": wait * faults.mean_s("repair_s", "announced"),
        "migrates": bool(watch and watch.migrates),
        "lag_s": plan.checkpoint_lag_s,
    }

    def made() -> Exposure:
        with np.errstate(over="ignore", invalid="ignore"):  # segments of hundreds of MTBFs
            return exposed(plan.work_s, **given)

    return kept("exposure", lambda: (plan.work_s, *given.values()), made)


def _migrates(faults: RunFaults) -> bool:
    return bool(faults.watch and faults.watch.migrates)


def _chains_share(faults: RunFaults, found: Exposure, begun: float) -> float:
    """Return the share that ``begun`` recoveries have in all that a failure outside of recoveries began."""
    whole = float(found.failures) - float(found.again) - (float(found.announced) if _migrates(faults) else 0.0)
    return begun / whole if whole > 0 else 0.0


def tallied(faults: RunFaults, found: Exposure, *, spares: bool = True) -> list[tuple[str, dict[str, float]]]:
    """Return what each cause is expected to do to a run, shared out by rates, and last the false alarms."""
    sudden = max(float(found.failures) - float(found.announced) - float(found.again), 0.0)
    rows: list[tuple[str, dict[str, float]]] = []
    shares = []
    for which in ("all", "sudden", "announced"):
        rates = faults.rates(which)
        whole = sum(rates)
        shares.append([rate / whole if whole > 0 else 0.0 for rate in rates])
    for cause, anyhow, unseen, foreseen in zip(faults.causes, *shares, strict=True):
        again, met = float(found.again) * anyhow, float(found.announced) * foreseen
        failed = sudden * unseen + met + again
        row = {
            "failures": failed,
            "announced": met,
            "lost_s": float(found.lost_s) * unseen,
            "detection_s": (sudden * unseen + again) * cause.detect_s,
            "wait_s": 0.0 if spares else failed * cause.repair_s,
            "recovery_s": float(found.recovery_s) * _chains_share(faults, found, sudden * unseen + (0.0 if _migrates(faults) else met)),
            "acts_s": met * (faults.watch.act_s if faults.watch else 0.0),
            "repair_s": failed * cause.repair_s,
        }
        rows.append((cause.name, row))
    if faults.watch:
        rows.append(("false alarm", {"announced": float(found.false_alarms), "acts_s": float(found.false_alarms) * faults.watch.act_s}))
    return rows


_FIELDS = ("failures", "announced", "lost_s", "detection_s", "wait_s", "recovery_s", "acts_s", "repair_s")


def taken_s(row: Mapping[str, float]) -> float:
    """Return the time that a cause took of a run [s], from a row of :func:`counted` or :func:`tallied`."""
    return sum(row.get(part, 0.0) for part in ("lost_s", "detection_s", "wait_s", "recovery_s", "acts_s"))


def counted(faults: RunFaults, tallies: list[Tally]) -> list[tuple[str, dict[str, float]]]:
    """Return what each cause did to a run that was simulated, and last the false alarms."""
    names = [cause.name for cause in faults.causes]
    rows = [(name, {f: float(getattr(tally, f)) for f in _FIELDS}) for name, tally in zip(names, tallies, strict=False)]
    return [*rows, ("false alarm", {f: float(getattr(tallies[-1], f)) for f in _FIELDS})] if faults.watch else rows


def failure_rows(runs: Iterable[tuple[str, list[tuple[str, dict[str, float]]]]], jobs: Mapping[str, Tally]) -> dict[str, list[Any]]:
    """Return the columns of the table ``failures``: runs by cause, then the batch jobs by cause."""
    rows = [(name, cause, *(row.get(f, 0.0) for f in _FIELDS), math.nan) for name, causes in runs for cause, row in causes]
    for cause, tally in jobs.items():
        rows.append(
            ("jobs", cause, float(tally.failures), 0.0, math.nan, math.nan, tally.wait_s, math.nan, 0.0, tally.repair_s, float(tally.jobs))
        )
    names = (
        "name",
        "cause",
        "failures",
        "announced",
        "lost_s",
        "detection_s",
        "wait_s",
        "recovery_s",
        "alarms_s",
        "repair_node_s",
        "jobs_killed",
    )
    return {key: [row[k] for row in rows] for k, key in enumerate(names)}
