"""A user's measured training steps, each with the terms that its prediction rests on."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.base.units import parse_quantity, readable
from hpcsim.catalog.hardware import Accelerator
from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.collectives import Link
from hpcsim.cost.compute import DEVICE_CLASSES, Device
from hpcsim.cost.parameters import DEFAULTS, TERMS
from hpcsim.cost.software import software
from hpcsim.evidence.training import read_cases
from hpcsim.study.cases import predict
from hpcsim.workload.calibrated import GENERIC
from hpcsim.workload.link_kinds import link_of
from hpcsim.workload.what_if import Setup, setup_of

__all__ = ["Group", "Term", "read_steps"]

NO_FILE = problem_kind("measurements-missing", "there is no such file of measurements", "check the path")
UNREADABLE = problem_kind(
    "measurements-unreadable", "the file of measurements cannot be read: {why}", "it is a YAML list of measured steps"
)
NOT_A_LIST = problem_kind(
    "measurements-not-a-list", "a file of measurements is a list; this is {what}", "begin each measured step with a dash"
)
MIXED = problem_kind(
    "measurements-form", "measurement {number}: {why}", "give scenario and measured, or a case with model, hardware, parallelism and target"
)
WHICH = problem_kind(
    "measurements-which-run", "measurement {number}: {count} training runs in {scenario}", "name one with training: {known}"
)

_TRAINED = ("bf16", "fp16", "tf32", "fp8", "fp4")
"""Arithmetic of matrix units: one rate scales with the other."""
_MATMUL, _MEMORY, _ATTENTION = "matrix products", "memory bandwidth", "fused attention"
_UP, _OUT = "scale-up link", "scale-out link"
_LAUNCH, _TRAFFIC, _STEP = "launch of an operation", "memory traffic", "step overhead"


@dataclass(frozen=True)
class Term:
    """A physical term that measurements can move.

    Attributes
    ----------
    kind, entry, name : str
        Section and entry of the overlay, and what the term is: these three tell terms apart.
    prior, sigma : float
        Value before, and standard deviation of its logarithm.
    unit : str
    limit : float
        Largest logarithm of value over prior.
    key : str
        Field of the overlay's entry.
    rates : tuple of (str, float)
        For matrix products: sustained rate by precision before [FLOP/s].
    """

    kind: str
    entry: str
    name: str
    prior: float = field(compare=False)
    sigma: float = field(compare=False)
    unit: str = field(default="", compare=False)
    limit: float = field(default=1.5, compare=False)
    key: str = field(default="", compare=False)
    rates: tuple[tuple[str, float], ...] = field(default=(), compare=False)

    def written(self, factor: float) -> dict[str, Any]:
        """Return the overlay fields of the value ``factor`` times the prior."""
        if self.rates:
            return {self.key: {name: readable(rate * factor, "compute rate", 4) for name, rate in self.rates}}
        value = self.prior * factor
        return {self.key: readable(value, "time", 4) if self.unit == "s" else float(f"{value:.4g}")}


@dataclass(frozen=True)
class Group:
    """Measurements that are predicted together.

    Attributes
    ----------
    names : tuple of str
    measured_s : tuple of float
    terms : tuple of Term
    predict : callable
        Seconds of each, given factors on terms; a term that is not there keeps its prior.
    """

    names: tuple[str, ...]
    measured_s: tuple[float, ...]
    terms: tuple[Term, ...]
    predict: Callable[[Mapping[Term, float]], list[float]]


def _plain(rates: Mapping[Any, float]) -> dict[str, float]:
    return {str(key): float(rate) for key, rate in rates.items()}


def _sustained(entry_category: str, peaks: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, float]:
    device = Device("", entry_category, dict(peaks), 1.0, 1.0, dict(measured))
    return {key: float(device.sustained(key)) for key in peaks}


def _share(kind: str, entry: str, name: str, key: str, prior: float, sigma: float) -> Term:
    return Term(kind, entry, name, prior, sigma, "", math.log(1.0 / prior) if 0 < prior < 1 else 0.0, key)


def _matmul(entry: str, rates: Mapping[str, float], peaks: Mapping[str, Any]) -> Term:
    ordered = tuple(sorted((key, rate) for key, rate in rates.items() if key in _TRAINED) or sorted(rates.items()))
    first = "bf16" if "bf16" in rates else ordered[0][0]
    room = min(math.log(float(peaks[key]) / rate) for key, rate in ordered)
    return Term("accelerators", entry, _MATMUL, rates[first], 0.10, "FLOP/s", max(room, 0.0), "matmul", ordered)


def _of_software(name: str, launch_s: float, traffic: float, step_s: float) -> list[Term]:
    found = [Term("software", name, _TRAFFIC, traffic, 0.20, "", 1.5, "memory_traffic")]
    if launch_s > 0:
        found.append(Term("software", name, _LAUNCH, launch_s, 0.35, "s", 1.5, "launch"))
    if step_s > 0:
        found.append(Term("software", name, _STEP, step_s, 0.60, "s", 2.5, "step_overhead"))
    return found


# --- scenarios


def _setup_terms(setup: Setup, device_id: str, up: str, out: str, framework: str) -> list[Term]:
    device, stack = setup.device, setup.software
    rates = _sustained(device.category, device.peak_flop_per_s, device.sustained_flop_per_s)
    stream = float(device.stream_bytes_per_s / np.asarray(device.memory_bytes_per_s, float))
    terms = [
        _matmul(device_id, rates, device.peak_flop_per_s),
        _share("accelerators", device_id, _MEMORY, "memory_efficiency", stream, 0.12),
        _share("accelerators", device_id, _ATTENTION, "attention_efficiency", float(device.attention_share), 0.25),
        *_of_software(
            framework, float(np.asarray(stack.launch_s)), float(np.asarray(stack.traffic_factor)), float(np.asarray(stack.step_s))
        ),
    ]
    if up:
        terms.append(_share("links", up, _UP, "sustained", float(np.asarray(setup.fabric.scale_up.efficiency_frac)), 0.20))
    if out:
        terms.append(_share("links", out, _OUT, "sustained", float(np.asarray(setup.fabric.scale_out.efficiency_frac)), 0.25))
    return terms


def _changed(setup: Setup, terms: Sequence[Term], factors: Mapping[Term, float]) -> Setup:
    at = {term.name: factors.get(term, 1.0) for term in terms}
    device, fabric, stack = setup.device, setup.fabric, setup.software
    rates = _sustained(device.category, device.peak_flop_per_s, device.sustained_flop_per_s)
    stream = float(device.stream_bytes_per_s / np.asarray(device.memory_bytes_per_s, float))
    device = dataclasses.replace(
        device,
        sustained_flop_per_s={key: rate * at[_MATMUL] for key, rate in rates.items()},
        memory_frac=stream * at[_MEMORY],
        attention_frac=float(device.attention_share) * at[_ATTENTION],
    )

    def scaled(link: Link, factor: float) -> Link:
        return dataclasses.replace(link, efficiency_frac=np.asarray(link.efficiency_frac, float) * factor)

    fabric = dataclasses.replace(
        fabric, scale_up=scaled(fabric.scale_up, at.get(_UP, 1.0)), scale_out=scaled(fabric.scale_out, at.get(_OUT, 1.0))
    )
    stack = dataclasses.replace(
        stack,
        launch_s=np.asarray(stack.launch_s, float) * at.get(_LAUNCH, 1.0),
        step_s=np.asarray(stack.step_s, float) * at.get(_STEP, 1.0),
        traffic_factor=np.asarray(stack.traffic_factor, float) * at[_TRAFFIC],
    )
    return dataclasses.replace(setup, device=device, fabric=fabric, software=stack)


def _catalog_name(find: Callable[[str], Any], name: str) -> str:
    try:
        return str(find(name).id) if name else ""
    except InputError:
        return ""


def _scenario(item: Mapping[str, Any], number: int, folder: Path, catalog: Catalog, problems: Problems, file: str) -> Group | None:
    from hpcsim.run.bind import bind
    from hpcsim.scenario.load import load

    try:
        measured = item["measured"]
        seconds = parse_quantity(measured, "time") if isinstance(measured, str) else float(measured)
        if not (seconds > 0 and math.isfinite(seconds)):
            raise MIXED.error(number=number, why=f"measured is {measured!r}")
        scenario = load(folder / str(item["scenario"]))
        if item.get("set"):
            scenario = scenario.vary(dict(item["set"]))
        bound = bind(scenario, catalog=catalog)
    except InputError as error:
        head = f"measurement {number}: "
        said = [dataclasses.replace(p, message=head + p.message.removeprefix(head)) for p in error.problems]
        problems.absorb(InputError(said), path=f"[{number - 1}]")
        return None
    except (TypeError, ValueError, KeyError) as error:
        problems.add(MIXED(file=file, number=number, why=f"it cannot be read ({error})"))
        return None
    plans = {plan.name: plan for plan in bound.trainings}
    wanted = str(item.get("training") or (next(iter(plans)) if len(plans) == 1 else ""))
    if wanted not in plans:
        problems.add(WHICH(file=file, number=number, count=len(plans), scenario=str(item["scenario"]), known=", ".join(plans)))
        return None
    plan, spec = plans[wanted], scenario.workload.training[wanted]
    setup = setup_of(plan, spec, bound.cluster, bound.catalog)
    up = _catalog_name(catalog.link, plan.group.accelerator.scale_up_link if plan.group.accelerator else "")
    out = _catalog_name(catalog.link, bound.cluster.fabric.link if bound.cluster.fabric else "")
    terms = tuple(_setup_terms(setup, setup.device.name, up, out, spec.framework or GENERIC))
    name = str(item.get("id") or f"{Path(str(item['scenario'])).stem}-{number}")
    return Group((name,), (seconds,), terms, lambda factors: [float(_changed(setup, terms, factors).cost().step_time_s)])


# --- cases


class _Scaled:
    """A catalog whose accelerators multiply matrices at other rates."""

    def __init__(self, catalog: Catalog, factors: Mapping[str, float]) -> None:
        self._catalog, self._factors = catalog, factors

    def accelerator(self, name: str) -> Accelerator:
        entry = self._catalog.accelerator(name)
        factor = self._factors.get(entry.id, 1.0)
        if factor == 1.0:
            return entry
        rates = _sustained(entry.category, _plain(entry.peak_flop_per_s), _plain(entry.measured_matmul_flop_per_s))
        return entry.model_copy(update={"measured_matmul_flop_per_s": {key: rate * factor for key, rate in rates.items()}})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)


def _stack_terms(case: Mapping[str, Any]) -> list[tuple[Term, str]]:
    """Return the terms of a case's software with the parameter that moves each."""
    said = case.get("software") or {}
    framework, year = str(said.get("framework") or ""), int(said.get("year") or 2024)
    stack = software(framework, year)
    found = []
    for name, key, label, unit, ending in (
        ("launch_s", "launch", _LAUNCH, "s", "_launch_s"),
        ("traffic_factor", "memory_traffic", _TRAFFIC, "", "_traffic"),
    ):
        now = float(np.asarray(getattr(stack, name)))
        for parameter in (p for p in TERMS if p.endswith(ending)):
            value = float(getattr(DEFAULTS, parameter))
            other = software(framework, year, parameters=DEFAULTS.varied(**{parameter: value * 1.1}))
            if now > 0 and not math.isclose(float(np.asarray(getattr(other, name))), now):
                limit = math.log(TERMS[parameter].high / value)
                found.append((Term("software", framework or GENERIC, label, now, TERMS[parameter].sigma, unit, limit, key), parameter))
                break
    return found


def _cases(cases: list[dict[str, Any]], catalog: Catalog, notes: list[str]) -> Group | None:
    """Return all cases that can be predicted as one group."""
    answers = predict(cases, catalog=catalog)
    kept = [case for case, answer in zip(cases, answers, strict=True) if not answer.refused]
    notes += [f"Left out: {case.get('id', '?')}: {answer.refused}." for case, answer in zip(cases, answers, strict=True) if answer.refused]
    if not kept:
        return None
    parameters: dict[Term, str] = {}
    own: list[dict[str, Term]] = []
    for case in kept:
        entry = catalog.accelerator(str(case["hardware"]["accelerator"]))
        rates = _sustained(entry.category, _plain(entry.peak_flop_per_s), _plain(entry.measured_matmul_flop_per_s))
        assumed = DEVICE_CLASSES.get(entry.category, DEVICE_CLASSES["gpu"])
        terms = {
            _MATMUL: _matmul(entry.id, rates, _plain(entry.peak_flop_per_s)),
            _MEMORY: _share("accelerators", entry.id, _MEMORY, "memory_efficiency", assumed.memory_frac, 0.12),
        }
        if entry.scale_up_link and entry.scale_up_bytes_per_s:
            link = link_of(catalog.link(entry.scale_up_link).id, 1.0, catalog)
            name = catalog.link(entry.scale_up_link).id
            terms[_UP] = _share("links", name, _UP, "sustained", float(np.asarray(link.efficiency_frac)), 0.20)
        for term, parameter in _stack_terms(case):
            terms[term.name] = term
            parameters[term] = parameter
        own.append(terms)
    everything = tuple(dict.fromkeys(term for terms in own for term in terms.values()))

    def seconds(factors: Mapping[Term, float]) -> list[float]:
        changed = [_case_with(case, terms, factors, catalog) for case, terms in zip(kept, own, strict=True)]
        rates = {term.entry: factor for term, factor in factors.items() if term.name == _MATMUL}
        moved = {
            parameters[term]: float(getattr(DEFAULTS, parameters[term])) * factor for term, factor in factors.items() if term in parameters
        }
        scaled: Any = _Scaled(catalog, rates)
        return [answer.predicted_s for answer in predict(changed, catalog=scaled, parameters=DEFAULTS.varied(**moved))]

    names = tuple(str(case.get("id", place + 1)) for place, case in enumerate(kept))
    return Group(names, tuple(float(case["target"]["iteration_time_s"]) for case in kept), everything, seconds)


def _case_with(case: dict[str, Any], terms: Mapping[str, Term], factors: Mapping[Term, float], catalog: Catalog) -> dict[str, Any]:
    """Return a case whose memory and links are faster by the factors; its measured value does not go along."""
    out = {key: copy.copy(case.get(key) or {}) for key in ("model", "hardware", "parallelism", "software")}
    hardware = out["hardware"]
    entry = catalog.accelerator(str(hardware["accelerator"]))
    memory = factors.get(terms[_MEMORY], 1.0)
    if memory != 1.0:
        known = hardware.get("memory_bandwidth_gbyte_s") or (entry.memory_bytes_per_s or math.nan) / 1e9
        hardware["memory_bandwidth_gbyte_s"] = known * memory
    up = factors.get(terms[_UP], 1.0) if _UP in terms else 1.0
    if up != 1.0:
        fabric = dict(hardware.get("fabric") or {})
        known = fabric.get("scale_up_gbyte_s_one_way") or (entry.scale_up_bytes_per_s or math.nan) / 1e9
        hardware["fabric"] = {**fabric, "scale_up_gbyte_s_one_way": known * up}
    return out


def read_steps(path: Path, catalog: Catalog) -> tuple[list[Group], list[str]]:
    """Return the measured steps of a file, grouped by how they are predicted, and notes on what was left out.

    Raises
    ------
    InputError
        The file is not there or wrong: every mistake at once.
    """
    try:
        data = yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise NO_FILE.error(file=str(path)) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UNREADABLE.error(file=str(path), why=getattr(error, "strerror", None) or " ".join(str(error).split())) from None
    if not isinstance(data, list) or not data:
        raise NOT_A_LIST.error(file=str(path), what="empty" if not data else f"a {type(data).__name__}")
    of_scenarios = [isinstance(item, dict) and "scenario" in item for item in data]
    if not any(of_scenarios):
        notes: list[str] = []
        group = _cases(read_cases(path), catalog, notes)
        return ([group] if group else []), notes
    problems = Problems()
    groups = []
    for number, item in enumerate(data, 1):
        if not of_scenarios[number - 1]:
            problems.add(
                MIXED(
                    file=str(path),
                    number=number,
                    why="a file holds scenarios or cases, not both" if isinstance(item, dict) else "it is no map",
                )
            )
        elif "measured" not in item:
            problems.add(MIXED(file=str(path), number=number, why="measured is missing"))
        else:
            group = _scenario(item, number, path.parent, catalog, problems, str(path))
            groups += [group] if group else []
    problems.raise_if_any()
    return groups, []
