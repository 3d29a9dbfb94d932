"""What the plans of the shipped scenarios say would flip a choice does, and nothing less does."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import hpcsim
from hpcsim.catalog.lookup import default
from hpcsim.study.planning.candidates import Candidates, order
from hpcsim.study.planning.choose import residual
from hpcsim.study.planning.plan import _decide, _works
from hpcsim.study.planning.reasons import TIMED, deadline_flips, rivals

SCENARIOS = Path(__file__).resolve().parents[3] / "scenarios"
PLANS = ["plan-hospital", "plan-queue", "plan-llama3-70b"]


@cache
def goals(name: str) -> list[tuple[Candidates, int]]:
    scenario = hpcsim.load(SCENARIOS / f"{name}.yaml")
    works = _works(scenario, default(), [])
    choice, _ = _decide(works, scenario.plan.objective, lambda _: None)
    assert choice is not None
    assert scenario.plan.objective == "cost"
    found = [work.found for work in works]
    return [(residual(found, choice.rows, k), row) for k, row in enumerate(choice.rows)]


def priced(found: Candidates, axis: str, value: object, factor: float) -> Candidates:
    """Return the candidates with the devices of all that have a value at another price."""
    mask = np.asarray(found.axes[axis] == value)
    more = np.where(mask, found.parts["devices"] * (factor - 1.0), 0.0)
    parts = dict(found.parts) | {"devices": found.parts["devices"] + more}
    return dataclasses.replace(found, parts=parts, values=dict(found.values) | {"cost_usd": found.values["cost_usd"] + more})


def winner(found: Candidates) -> int:
    return int(order(found, "cost", np.flatnonzero(found.feasible()))[0])


@pytest.mark.parametrize("name", PLANS)
def test_prices_flip_the_choice_where_the_plan_says(name: str) -> None:
    told = 0
    for found, row in goals(name):
        assert winner(found) == row
        for rival in rivals(found, row, "cost"):
            for value, share, sign in ((rival.other, rival.cheaper_frac, -1.0), (rival.mine, rival.dearer_frac, 1.0)):
                column = found.axes[rival.axis].astype(str)
                if not math.isfinite(share) or not 1e-6 < share < (1.0 if sign < 0 else 1e6):
                    continue
                plain = dataclasses.replace(found, axes={**found.axes, rival.axis: column})
                just, nearly = (winner(priced(plain, rival.axis, value, 1.0 + sign * share * (1.0 + nudge))) for nudge in (1e-6, -1e-6))
                assert column[nearly] == rival.mine, (rival, share)
                assert column[just] != rival.mine, (rival, share)
                if sign < 0:
                    assert column[just] == rival.other
                told += 1
    assert told >= 2


@pytest.mark.parametrize("name", PLANS)
def test_deadlines_flip_the_choice_where_the_plan_says(name: str) -> None:
    for found, row in goals(name):
        timed = [limit for limit in TIMED if limit in found.over]
        for way, (factor, other) in deadline_flips(found, row, "cost").items():
            for nudge, flips in ((1e-9, True), (-1e-9, False)):
                scale = factor * (1.0 - nudge if way == "tighter" else 1.0 + nudge)
                moved = dataclasses.replace(found, over=dict(found.over) | {limit: found.over[limit] / scale for limit in timed})
                chosen = winner(moved)
                assert (chosen != row) == flips, (way, factor, nudge)
                if flips:
                    assert chosen == other


@pytest.mark.parametrize("name", ["plan-hospital", "plan-queue"])
def test_the_words_of_the_plan_hold_the_flips(name: str) -> None:
    plan = hpcsim.plan(SCENARIOS / f"{name}.yaml")
    rows = plan.plan[plan.plan["step"] == "planning"]
    assert rows["why"].notna().all()
    chosen = rows["item"].isin(
        ["accelerator", "nodes", "owner", "place", "place of the data", "fabric", "storage tier", "layout", "policy"]
    )
    assert chosen.sum() >= 4
    assert rows[chosen | rows["item"].str.startswith("nodes in year")]["flips"].notna().all()
