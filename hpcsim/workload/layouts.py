"""Which layout a training run has: as it is given, or the fastest that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.base.units import readable
from hpcsim.catalog.models import Model as Network
from hpcsim.cost.collectives import Fabric
from hpcsim.cost.compute import Device
from hpcsim.cost.models import Model, Work
from hpcsim.cost.parallelism import EXTRAS, Layout, kept_with, space
from hpcsim.cost.software import Software
from hpcsim.cost.training import StepCost, step
from hpcsim.scenario.workload import LayoutSpec

__all__ = ["Setting", "choose", "explicit", "layout_words"]

WORLD_SIZE = problem_kind(
    "layout-world-size",
    "{devices} devices are not divided by the layout: tp·pp·cp = {tp}·{pp}·{cp} = {group}{with_dp}",
    "{hint}",
)
NO_LAYOUT = problem_kind("no-layout-fits", "no layout of {model} on {devices} × {device} can be found{why}", "{hint}")
DOES_NOT_FIT = problem_kind(
    "model-does-not-fit", "{model} needs {needs} on each device, {device} has {has}: {over} too much; most of it is {most}", "{hint}"
)
_PLAIN = {"tp": 1, "pp": 1, "vpp": 1, "cp": 1, "ep": 1, "etp": 0, "zero_stage": 0, "recompute": "none", "schedule": "1f1b", "overlap": True}
_WORDS = (
    "tp",
    "pp",
    "vpp",
    "cp",
    "ep",
    "micro_batch",
    "zero_stage",
    "recompute",
    "sequence_parallel",
    "schedule",
    "overlap",
    "offload",
)
"""Keys of a layout in the order in which they are said."""
_AUTO_AXES: dict[str, tuple[Any, ...]] = {
    "vpp": (1, 2, 4),
    "cp": (1, 2, 4, 8),
    "ep": (1, 2, 4, 8, 16, 32, 64),
    "micro_batch": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    "zero_stage": (0, 1, 3),
    "recompute": (0, 1, 2),
    "sequence_parallel": (False, True),
    "schedule": ("1f1b",),
    "overlap": (True,),
    "offload": (False,),
}


@dataclass(frozen=True)
class Setting:
    """What every candidate layout of a run shares."""

    model: Model | Work
    device: Device
    fabric: Fabric
    stack: Software
    devices: int
    global_batch: int
    sequence: int
    precision: str
    splits_sequence: bool = False
    """Whether the software is one that splits activations outside the tensor-parallel products by default."""

    def cost(self, layout: Layout, check: bool = True, fabric: Fabric | None = None) -> StepCost:
        """Return the cost of a step in a layout, or in many; ``fabric`` in place of its own."""
        return step(
            self.model,
            self.device,
            fabric or self.fabric,
            layout,
            global_batch=self.global_batch,
            sequence=self.sequence,
            precision=self.precision,
            software=self.stack,
            devices=self.devices,
            check=check,
        )

    def fastest(self, fixed: dict[str, Any], *, devices: int | None = None) -> tuple[Layout | None, int, dict[str, int]]:
        """Return the fastest layout that fits, how many were evaluated, and what removed the others."""
        total = devices or self.devices
        removed: dict[str, int]
        axes: dict[str, Any] = {key: (fixed[key],) if key in fixed else values for key, values in _AUTO_AXES.items()}
        for key in ("tp", "pp"):
            if key in fixed:
                axes[key] = (fixed[key],)
        if isinstance(self.model, Work):
            alone = Layout(dp=total, micro_batch=np.array([b for b in axes["micro_batch"] if self.global_batch % (total * b) == 0]))
            layouts, removed = (
                (alone if alone.shape and alone.shape[0] else None),
                {"batch": len(axes["micro_batch"]) - (alone.shape or (1,))[0]},
            )
        else:
            if self.sequence % 2:
                axes["cp"] = (1,)
            top = int(np.max(np.asarray(self.fabric.domain)))
            found, removed = space(
                self.model,
                devices=total,
                global_batch=self.global_batch,
                sequence=self.sequence,
                axes=axes,
                max_tp=max(top, 1) if top > 1 else 8,
            )
            extra = {key: fixed[key] for key in EXTRAS if key in fixed}
            if extra and found.shape[0]:
                found, gone = kept_with(found, self.model, extra, devices=total, global_batch=self.global_batch, sequence=self.sequence)
                removed.update({"given": gone} if gone else {})
            layouts = found if found.shape and found.shape[0] else None
        if layouts is None:
            return None, 0, removed
        cost = self.cost(layouts, check=False)
        time = np.where(cost.fits, cost.step_time_s, np.inf)
        best = int(np.argmin(time))
        count = int(layouts.shape[0])
        if not np.isfinite(time[best]):
            return None, count, {**removed, "memory": count}
        return layouts.take(best), count, removed


def _given(spec: LayoutSpec) -> dict[str, Any]:
    values = spec.model_dump(exclude_none=True, exclude={"auto"})
    return {k: v for k, v in values.items() if k in spec.model_fields_set}


def explicit(spec: LayoutSpec, setting: Setting, path: str) -> Layout:
    """Return the layout that is given, completed: dp follows from the devices, and the fastest micro-batch is taken where there is none.

    Raises
    ------
    InputError
        The devices are not divided by it.
    """
    given = _given(spec)
    values = {**_PLAIN, **given}
    tp, pp, cp = values["tp"], values["pp"], values["cp"]
    unit = tp * pp * cp
    dp = given.get("dp", setting.devices // unit if setting.devices % unit == 0 else 0)
    if dp * unit != setting.devices:
        with_dp = f", with dp {given['dp']} {given['dp'] * unit}" if "dp" in given else ""
        below, above = setting.devices // unit * unit, -(-setting.devices // unit) * unit
        counts = " or ".join(str(n) for n in (below, above) if n > 0)
        hint = (
            "leave dp out, it follows"
            if "dp" in given and setting.devices % unit == 0
            else f"use {counts} devices, or another tp, pp or cp; layout: auto chooses"
        )
        raise WORLD_SIZE.error(path=f"{path}.layout", devices=setting.devices, tp=tp, pp=pp, cp=cp, group=unit, with_dp=with_dp, hint=hint)
    values["dp"] = dp
    values.setdefault("sequence_parallel", tp > 1 and setting.splits_sequence and setting.sequence % (tp * cp) == 0)
    if "micro_batch" not in given:
        fixed = {k: v for k, v in values.items() if k != "dp"}
        best, _, _ = setting.fastest(fixed)
        values["micro_batch"] = int(np.asarray(best.micro_batch)) if best is not None else 1
    return Layout(**values)


def layout_words(row: Mapping[str, Any]) -> str:
    """Return a layout as a scenario takes it: what is not the default, in braces.

    >>> layout_words({"dp": 4, "tp": 8, "pp": 2, "vpp": 1, "micro_batch": 1, "zero_stage": 1, "sequence_parallel": True})
    '{tp: 8, pp: 2, micro_batch: 1, zero_stage: 1, sequence_parallel: true}'
    """
    always = ("tp", "pp", "micro_batch", *(["sequence_parallel"] if row.get("tp", 1) > 1 else []))
    shown = [k for k in _WORDS if k in row and (k in always or row[k] != _PLAIN.get(k, False))]
    return "{" + ", ".join(f"{k}: {str(row[k]).lower()}" for k in shown if k != "sequence_parallel" or k in always) + "}"


def _what_fits(setting: Setting) -> str:
    """Say which layout would fit, or how many devices it would take."""
    best, _, _ = setting.fastest({})
    if best is not None:
        return f"this fits: {layout_words(best.row())}; or layout: auto"
    devices = setting.devices
    for _ in range(12):
        devices *= 2
        if setting.global_batch % 1 == 0 and setting.fastest({}, devices=devices)[0] is not None:
            return f"no layout fits on {setting.devices} devices; {devices} of them would hold it, or devices with more memory"
    return "no layout fits; use devices with more memory, a smaller model, or a shorter sequence"


def choose(
    spec: LayoutSpec, setting: Setting, network: Network, path: str, given: Layout | None, known: StepCost | None
) -> tuple[Layout, StepCost, int]:
    """Return the layout of a run, its cost, and how many were evaluated to find it.

    Parameters
    ----------
    given : Layout or None
        The layout as it is given; None to take the fastest that fits.
    known : StepCost or None
        Its cost, where it is known already.

    Raises
    ------
    InputError
        No layout fits, or the one that is given cannot be or does not fit.
    """
    if given is None:
        fixed = {k: v for k, v in _given(spec).items() if k not in ("dp", "etp")}
        best, evaluated, removed = setting.fastest(fixed)
        if best is None:
            memory = " that fits its memory" if removed.get("memory") else ""
            causes = ", ".join(f"{n} by {reason}" for reason, n in removed.items())
            hint = _what_fits(setting) if removed.get("memory") else "change the number of devices or the global batch so that they divide"
            name = setting.device.name
            raise NO_LAYOUT.error(
                path=f"{path}.layout",
                model=network.id,
                devices=setting.devices,
                device=name,
                why=memory + (f" (removed: {causes})" if causes else ""),
                hint=hint,
            )
        return best, setting.cost(best), evaluated
    cost = setting.cost(given) if known is None else known
    if not bool(cost.fits):
        needs, has = float(cost.peak_memory_bytes), float(cost.memory_capacity_bytes)
        terms = {k: float(v) for k, v in cost.memory.terms().items()}
        most = max(terms, key=lambda k: terms[k])
        raise DOES_NOT_FIT.error(
            path=path,
            model=network.id,
            needs=readable(needs, "data size", 3),
            device=setting.device.name,
            has=readable(has, "data size", 3),
            over=readable(needs - has, "data size", 3),
            most=f"{most} ({readable(terms[most], 'data size', 3)})",
            hint=_what_fits(setting),
        )
    return given, cost, 0
