"""Jobs that change their size: small cases by hand, an obvious reference, analytic answers, and what must hold for all of them."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cost.speedup import AmdahlLaw, DowneyLaw, TableLaw
from hpcsim.engine.elastic import ElasticSystem
from hpcsim.engine.jobs import PolicyFault, run_jobs
from hpcsim.engine.on_nodes import run_on_machine
from hpcsim.engine.stopping import Stopping
from hpcsim.scheduling.machine import Allocation, Demand, Machine, NodeClass, Window
from hpcsim.scheduling.malleable import equal_parts, greedy_parts
from hpcsim.scheduling.moldable import Moldable
from hpcsim.scheduling.policies import Decision, View, make_policy, policies
from hpcsim.scheduling.requests import Asking, demands_of
from hpcsim.scheduling.scales import shrunk
from hpcsim.testing.policies import check_policy, random_elastic
from hpcsim.workload.elastic import Elasticity, elastic_jobs, parse_elasticity
from hpcsim.workload.jobs import JobTable
from tests.oracles.slow_elastic import slow_elastic
from tests.oracles.slow_scheduler import slow_schedule

ELASTIC = ["moldable", "equipartition", "goodput"]
LINEAR = AmdahlLaw(0.0)


@pytest.mark.parametrize("policy", ELASTIC)
def test_conforms(policy: str) -> None:
    check_policy(policies.get(policy), seeds=1)


# -- by hand -------------------------------------------------------------------------------------------------------------------------


def linear(submit: list[float], run: list[float], size: list[int], least: list[int], most: list[int]) -> JobTable:
    return JobTable.of(submit, run, size, least=least, most=most, law=[0] * len(run), laws=[LINEAR])


def test_two_jobs_by_hand() -> None:
    """Four processors; 8 s and, from 2 s on, 4 s, both on two of one to four. Moldable: job 1 takes all four, 4 s, then job 2 takes all, 2 s. In equal
    parts job 1 has four until 2 s, has done half, and then both have two until 6 s."""
    jobs = linear([0, 2], [8, 4], [2, 2], [1, 1], [4, 4])
    assert run_jobs(jobs, 4, "easy").end_s.tolist() == [8.0, 6.0]
    moldable = run_jobs(jobs, 4, "moldable", check=True)
    assert (moldable.start_s.tolist(), moldable.end_s.tolist()) == ([0.0, 4.0], [4.0, 6.0])
    assert moldable.last_processors == {0: 4, 1: 4}
    equal = run_jobs(jobs, 4, "equipartition", check=True)
    assert (equal.start_s.tolist(), equal.end_s.tolist()) == ([0.0, 2.0], [6.0, 6.0])
    assert [(s.job, s.start_s, s.end_s, s.how, s.kept_s, s.lost_s, s.processors) for s in equal.stretches] == [(0, 0, 2, "resize", 4, 0, 4)]
    assert equal.processor_s.tolist() == [16.0, 8.0]
    assert equal.wait_s.tolist() == [0.0, 0.0]


def test_a_change_of_size_costs_a_checkpoint_and_a_restart() -> None:
    """As above, but job 1 saves for 1 s and restores for 2 s at 2 s: it goes on at 5 s, when 4 s of work are left, one of which is done by 6 s; then
    job 2 ends, and job 1 pays again before it does the other three on four processors."""
    jobs = linear([0, 2], [8, 4], [2, 2], [1, 1], [4, 4])
    outcome = run_on_machine(
        jobs, Machine.of([NodeClass("n", 1, 4)]), "equipartition", stopping=Stopping(save_s=1, restore_s=2), check=True
    )
    assert outcome.end_s.tolist() == [6 + 3 + 3 / 2, 6.0]


def test_four_jobs_tell_all_of_them_apart() -> None:
    """Eight processors. Only jobs 1 and 3 gain much from more of them; job 4 has one size."""
    jobs = JobTable.of(
        [0, 1, 2, 3], [12, 9, 6, 4], [4, 3, 2, 2], least=[1, 1, 1, -1], most=[8, 8, 4, -1], law=[0, 1, 0, -1], laws=[LINEAR, AmdahlLaw(0.5)]
    )
    ends = {
        name: np.round(run_jobs(jobs, 8, name, check=True).end_s, 6).tolist()
        for name in ("easy", *ELASTIC, "fcfs", "srpt", "gang:quantum_s=3")
    }
    assert len({tuple(end) for end in (ends["easy"], ends["moldable"], ends["equipartition"], ends["goodput"])}) == 4
    slow = [
        {"id": at, "submit": jobs.submit_s[at], "run": jobs.run_s[at], "estimate": jobs.run_s[at], "own": int(jobs.processors[at]),
         "least": int(jobs.least[at]) if jobs.law[at] >= 0 else 2, "most": int(jobs.most[at]) if jobs.law[at] >= 0 else 2,
         "speed": jobs.laws[max(0, int(jobs.law[at]))].speed}
        for at in range(4)
    ]  # fmt: skip
    for name in ("moldable", "equipartition"):
        found = slow_elastic(slow, 8, name)
        assert ends[name] == [round(found[at][1], 6) for at in range(4)]


def test_whoever_gains_nothing_gets_no_more() -> None:
    """Six processors, both jobs ask for one of one to five; job 2's speed ends at two processors. Equal parts give it three, goodput two."""
    flat = TableLaw((1, 2, 5), (1, 2, 2))
    jobs = JobTable.of([0, 0], [30, 10], [1, 1], least=[1, 1], most=[5, 5], law=[0, 1], laws=[LINEAR, flat])
    assert [stretch.processors for stretch in run_jobs(jobs, 6, "equipartition").stretches] == [3]
    outcome = run_jobs(jobs, 6, "goodput", check=True)
    assert outcome.end_s.tolist() == [5 + (30 - 20) / 5, 5.0]


def test_jobs_of_one_size_are_treated_as_ever() -> None:
    """Moldable is EASY where nothing can change, start by start; a rigid policy runs jobs that could change at the size that they ask for."""
    for seed in range(25):
        jobs = _random(seed, elastic=False)
        assert run_jobs(jobs, 12, "moldable", check=True).start_s.tolist() == run_jobs(jobs, 12, "easy").start_s.tolist()
        elastic = _random(seed)
        for name in ("easy", "conservative", "srpt"):
            assert run_jobs(elastic, 12, name).end_s.tolist() == run_jobs(jobs, 12, name).end_s.tolist()


# -- an obvious reference ------------------------------------------------------------------------------------------------------------


def _random(seed: int, *, elastic: bool = True, jobs: int = 9, most: int = 12) -> JobTable:
    """Jobs whose times are no round numbers, so that no two things happen at one instant but arrivals."""
    draw = np.random.default_rng(seed)
    size = draw.integers(1, 5, jobs)
    run = draw.uniform(1, 30, jobs)
    laws = [AmdahlLaw(float(s)) for s in draw.uniform(0.02, 0.6, 3)]
    table = JobTable.of(
        np.sort(np.where(draw.random(jobs) < 0.3, draw.integers(0, 20, jobs), draw.uniform(0, 40, jobs))),
        run, size, estimate_s=run * np.where(draw.random(jobs) < 0.5, 1.0, draw.uniform(0.6, 3, jobs)),
    )  # fmt: skip
    if not elastic:
        return table
    rigid = draw.random(jobs) < 0.25
    return dataclasses.replace(
        table, laws=tuple(laws), law=np.where(rigid, -1, draw.integers(0, 3, jobs)),
        least=np.where(rigid, -1, draw.integers(1, size + 1)), most=np.where(rigid, -1, draw.integers(size, most + 1)),
    )  # fmt: skip


def _as_dicts(jobs: JobTable) -> list[dict[str, Any]]:
    rows = []
    for at in range(len(jobs)):
        own, law = int(jobs.processors[at]), int(jobs.filled("law")[at])
        ends = (own, own) if law < 0 else (int(jobs.least[at]), int(jobs.most[at]))
        rows.append({
            "id": at, "submit": float(jobs.submit_s[at]), "run": float(jobs.run_s[at]), "estimate": float(jobs.estimate_s[at]), "own": own,
            "least": ends[0], "most": ends[1], "speed": (lambda n, law=law: float(jobs.laws[law].speed(n))) if law >= 0 else (lambda n: 1.0),
        })  # fmt: skip
    return rows


@pytest.mark.parametrize(
    ("policy", "cost"), [("moldable", 0.0), ("equipartition", 0.0), ("equipartition", 1.5), ("goodput", 0.0), ("goodput", 0.7)]
)
def test_equals_the_slow_reference(policy: str, cost: float) -> None:
    """Start by start, end by end and size by size; the reference of goodput tries every allocation."""
    few = policy == "goodput"
    for seed in range(12 if few else 40):
        jobs = _random(seed, jobs=6 if few else 9, most=6 if few else 12)
        size = 7 if few else 12
        stopping = Stopping(save_s=cost / 3, restore_s=cost - cost / 3)
        outcome = run_on_machine(jobs, Machine.of([NodeClass("n", 1, size)]), policy, stopping=stopping, check=True)
        slow = slow_elastic(_as_dicts(jobs), size, policy, cost=cost)
        np.testing.assert_allclose(outcome.start_s, [slow[at][0] for at in range(len(jobs))], atol=1e-7)
        np.testing.assert_allclose(outcome.end_s, [slow[at][1] for at in range(len(jobs))], atol=1e-7)
        job, _, start, _, held = outcome.pieces
        for at in range(len(jobs)):
            mine = sorted(zip(start[job == at].tolist(), held[job == at].tolist(), strict=True))
            last = dict(slow[at][2])  # of sizes at one instant the last one counts
            assert [size for _, size in mine] == [last[time] for time in sorted(last)]
            np.testing.assert_allclose([time for time, _ in mine], sorted(last), atol=1e-7)


def test_rigid_jobs_under_the_reference_are_easy() -> None:
    """The reference itself, where nothing can change, is the slow EASY of the other tests."""
    for seed in range(15):
        jobs = _random(seed, elastic=False)
        rows = [
            {"id": at, "submit": jobs.submit_s[at], "run": jobs.run_s[at], "estimate": max(jobs.estimate_s[at], jobs.run_s[at]), "processors": int(jobs.processors[at])}
            for at in range(len(jobs))
        ]  # fmt: skip
        exact = [job | {"estimate": row["estimate"]} for job, row in zip(_as_dicts(jobs), rows, strict=True)]
        assert {at: row[0] for at, row in slow_elastic(exact, 12, "moldable").items()} == pytest.approx(
            slow_schedule(rows, 12, "easy", "batch")
        )


# -- analytic ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2, 3, 4])
def test_identical_jobs_share_evenly_and_end_together(jobs: int) -> None:
    """k jobs of linear speed on 12 processors, 60 processor-seconds each: all end at 60·k/12 s."""
    table = linear([0.0] * jobs, [60.0] * jobs, [1] * jobs, [1] * jobs, [12] * jobs)
    assert run_jobs(table, 12, "equipartition", check=True).end_s.tolist() == [5.0 * jobs] * jobs


def test_processor_sharing_in_closed_form() -> None:
    """Works w₁ < w₂ < … at once, linear speed, 12 processors, which 4, 3, 2 and 1 divide: t_i = Σ_{j≤i} (w_j − w_{j−1})·(k − j + 1)/P."""
    works = np.array([12.0, 36.0, 60.0, 120.0])
    table = linear([0.0] * 4, works.tolist(), [1] * 4, [1] * 4, [12] * 4)
    expected = np.cumsum(np.diff(works, prepend=0.0) * np.arange(4, 0, -1)) / 12
    np.testing.assert_allclose(run_jobs(table, 12, "equipartition", check=True).end_s, expected)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_greedy_is_the_best_of_all_allocations(data: st.DataObject) -> None:
    """Where every further chunk gains less than the one before, no allocation has a larger sum (Fox 1966)."""
    gains = []
    for _ in range(data.draw(st.integers(1, 4))):
        steps = sorted(data.draw(st.lists(st.integers(0, 50), max_size=5)), reverse=True)
        gains.append(np.cumsum([data.draw(st.integers(0, 20)), *steps]).tolist())
    chunks = data.draw(st.integers(0, 10))
    given_ = greedy_parts(gains, chunks)
    assert sum(given_) <= chunks
    assert all(0 <= part < len(gain) for part, gain in zip(given_, gains, strict=True))
    best = max(
        sum(gain[part] for gain, part in zip(gains, parts, strict=True))
        for parts in itertools.product(*(range(len(gain)) for gain in gains))
        if sum(parts) <= chunks
    )
    assert sum(gain[part] for gain, part in zip(gains, given_, strict=True)) == best


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_equal_parts_are_those_of_giving_one_by_one(data: st.DataObject) -> None:
    """Max-min: whoever has more than another has its least, or the other has its most, or they differ by one."""
    least = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    most = [low + data.draw(st.integers(0, 8)) for low in least]
    chunks = sum(least) + data.draw(st.integers(0, 30))
    parts = equal_parts(least, most, chunks)
    assert all(low <= part <= high for low, part, high in zip(least, parts, most, strict=True))
    assert sum(parts) == min(chunks, sum(most))
    for i, j in itertools.permutations(range(len(parts)), 2):
        assert parts[i] <= parts[j] + 1 or parts[i] == least[i] or parts[j] == most[j]


# -- what must hold ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["batch", "event"])
@pytest.mark.parametrize("policy", ELASTIC)
def test_work_is_conserved_on_nodes(policy: str, order: Any) -> None:
    """On unequal nodes, with cores, accelerators, whole nodes and memory: the integral of the speed is the work, sizes stay in their range, no node is overbooked."""
    stopping = Stopping(save_s=0.5, restore_s=1.0)
    for seed in range(4):
        machine, jobs = random_elastic(seed)
        jobs = jobs.sorted_by_submit()
        kinds, kind = demands_of(jobs, machine, Asking())
        outcome = run_on_machine(jobs, machine, policy, stopping=stopping, order=order, check=True)
        assert not np.isnan(outcome.end_s).any()
        job, _, start, end, held = outcome.pieces
        for at in range(len(jobs)):
            law, own = int(jobs.law[at]), int(jobs.processors[at])
            each = own / kinds[kind[at]].chunks  # processors of a chunk
            mine = sorted(zip(start[job == at].tolist(), end[job == at].tolist(), held[job == at].tolist(), strict=True))
            if each != round(each):  # the table's whole processors do not tell the chunks
                continue
            done = 0.0
            for number, (a, b, size) in enumerate(mine):
                pause = stopping.restart_s("resize") if number else 0.0
                speed = 1.0 if law < 0 or size == own else float(jobs.laws[law].speed(size) / jobs.laws[law].speed(own))
                done += max(0.0, b - a - pause) * speed
                assert size == own if law < 0 else jobs.least[at] <= size <= jobs.most[at]
            assert done == pytest.approx(jobs.run_s[at])
            assert all(one[1] == two[0] for one, two in itertools.pairwise(mine))
            assert sum((b - a) * size for a, b, size in mine) == pytest.approx(outcome.processor_s[at])


class _Watched(Moldable):
    """Asserts that no promised end moves later, and keeps the promises."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "promised", {})

    def decide(self, view: View, /) -> Decision:
        decision = super().decide(view)
        promised: dict[int, float] = self.promised  # type: ignore[attr-defined]
        if decision.memo is not None:
            job, choice = decision.memo
            assert choice.end_s <= promised.get(job, np.inf) + 1e-9
            promised[job] = choice.end_s
        return decision


def test_the_promise_of_a_moldable_head_is_kept() -> None:
    """While estimates are upper bounds, the end that is predicted for a head never moves later, and it ends no later."""
    kept = 0
    for seed in range(60):
        jobs = _random(seed)
        jobs = jobs.with_estimates(np.maximum(jobs.estimate_s, jobs.run_s))
        policy = _Watched()
        outcome = run_jobs(jobs, 12, policy, check=True)
        promised: dict[int, float] = policy.promised  # type: ignore[attr-defined]
        kept += len(promised)
        assert all(outcome.end_s[job] <= end + 1e-9 for job, end in promised.items())
    assert kept > 100


def test_more_processors_or_less_cost_never_hurt_equal_parts() -> None:
    """All at once, linear speed: the mean response falls with the machine and grows with the cost of changing size."""
    table = linear([0.0] * 5, [10.0, 20, 30, 40, 50], [1] * 5, [1] * 5, [64] * 5)
    means = [float(run_jobs(table, size, "equipartition").end_s.mean()) for size in (5, 10, 20, 40, 80)]
    assert means == sorted(means, reverse=True)
    one = Machine.of([NodeClass("n", 1, 20)])
    costs = [float(run_on_machine(table, one, "equipartition", stopping=Stopping(restore_s=c)).end_s.mean()) for c in (0.0, 1.0, 2.0)]
    assert costs == sorted(costs)


def test_least_efficiency_bounds_the_size() -> None:
    """Amdahl 50 %: on four processors a job of one is 1.6 times as fast, 0.4 of what its processors could do."""
    jobs = JobTable.of([0], [10], [1], least=[1], most=[4], law=[0], laws=[AmdahlLaw(0.5)])
    assert run_jobs(jobs, 4, "moldable").end_s.tolist() == [10 / 1.6]
    assert run_jobs(jobs, 4, "moldable:least_efficiency_frac=0.6").end_s.tolist() == [10 / (1 / (0.5 + 0.5 / 2))]


def test_whole_nodes_come_free_first() -> None:
    kept, given_ = shrunk(Allocation((0, 1, 2), (2, 1, 1)), Demand(4), 2)
    assert (kept.nodes, kept.counts, given_.nodes, given_.counts) == ((0,), (2,), (1, 2), (1, 1))


def test_devices_stay_with_the_chunks_that_keep_them() -> None:
    place = Allocation((0, 1), (2, 2), ((0, 0, 21000), (0, 1, 21000), (1, 2, 21000), (1, 3, 21000)))
    kept, given_ = shrunk(place, Demand(4, gpus=1), 3)
    assert kept.devices == ((0, 0, 21000), (0, 1, 21000), (1, 2, 21000))
    assert given_.devices == ((1, 3, 21000),)


# -- refusals ------------------------------------------------------------------------------------------------------------------------


class _Wrong:
    name, key, rooms, nodes_only = "wrong", None, True, True

    def __init__(self, size: int) -> None:
        self.size = size

    def decide(self, view: View, /) -> Decision:
        return Decision(view.queue[view.head :][:1], sizes=[self.size])


@pytest.mark.parametrize("size", [1, 5, 99])
def test_a_size_that_a_job_cannot_have_is_the_policys_fault(size: int) -> None:
    with pytest.raises(PolicyFault):
        run_jobs(linear([0], [10], [3], [2], [4]), 8, _Wrong(size))
    with pytest.raises(PolicyFault):
        run_jobs(JobTable.of([0], [10], [3]), 8, _Wrong(size))


def test_windows_are_refused_with_the_reason() -> None:
    machine = Machine.of([NodeClass("n", 2, 4)], windows=[Window("m", 5.0, 10.0, np.array([True, False]))])
    with pytest.raises(InputError) as error:
        run_on_machine(linear([0], [10], [2], [1], [4]), machine, "equipartition")
    assert [problem.code for problem in error.value.problems] == ["elastic-windows"]
    assert isinstance(ElasticSystem, type)


@pytest.mark.parametrize(
    "text",
    ["linear", "downey:parallelism", "downey:speed=3", "amdahl:1=1", "table", "amdahl:serial=2", "table:2=1,2x=3", "downey:least=nan"],
)
def test_bad_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_elasticity(text)


@pytest.mark.parametrize("name", ["goodput:least_gain_frac=-1", "moldable:least_efficiency_frac=2", "goodput:least_gain_frac=nan"])
def test_bad_options_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        make_policy(name)


def test_a_part_of_a_log_is_elastic() -> None:
    jobs = JobTable.of(np.zeros(400), np.ones(400), np.full(400, 4))
    table = elastic_jobs(jobs, Elasticity("downey", part=0.5), capacity=10, seed=3)
    assert 150 < (table.law >= 0).sum() < 250
    assert set(table.most[table.law >= 0].tolist()) == {10}
    assert set(table.least.tolist()) == {-1, 1}
    assert table.laws == (DowneyLaw(8.0, 1.0),)
    again = elastic_jobs(table, Elasticity("amdahl"), capacity=10)
    assert (again.law[table.law >= 0] == 0).all()
