"""Machines of several classes of nodes of which a job has one: equality with an obvious scheduler, and what must hold for every policy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.engine.on_nodes import run_on_machine
from hpcsim.scheduling.machine import Demand, Machine, NodeClass
from hpcsim.scheduling.placement import LadderFirst, make_placement, placements
from hpcsim.scheduling.policies import make_policy, policies
from hpcsim.scheduling.requests import Asking
from hpcsim.workload.jobs import JobTable
from tests.oracles.slow_machine import slow_machine
from tests.properties.test_machine import Visit, as_dicts, outcome_of, pools_of, workloads

Workload = tuple[Machine, JobTable, list[Demand], Any]


@st.composite
def mixed(draw: st.DrawFn, most: int = 14) -> Workload:
    """A machine with its classes in some order, and jobs that fit on one of them alone."""
    machine, jobs, kinds, kind = draw(workloads(most=most))
    ladder = tuple(draw(st.permutations(range(len(machine.classes)))))
    machine = dataclasses.replace(machine, ladder=ladder if len(ladder) > 1 else ())
    fits = np.array([machine.holds(demand) for demand in kinds])[kind]
    used = np.unique(kind[fits])
    place = np.zeros(len(kinds), dtype=np.int64)
    place[used] = np.arange(len(used))
    return machine, jobs.subset(fits), [kinds[at] for at in used.tolist()], place[kind[fits]]


def groups_of(machine: Machine) -> list[list[int]]:
    order = machine.ladder or range(len(machine.classes))
    nodes = [np.flatnonzero(machine.group == at).tolist() for at in order]
    return nodes if machine.ladder else [[node for group in nodes for node in group]]


@pytest.mark.parametrize("policy", ["fcfs", "easy"])
@given(workload=mixed())
@settings(max_examples=80, deadline=None)
def test_equals_the_slow_reference_over_several_groups(policy: str, workload: Workload) -> None:
    """Start by start and node by node: a job takes the first group that can hold all of it."""
    machine = workload[0]
    outcome = outcome_of(workload, policy)
    slow = slow_machine(
        as_dicts(workload), machine.total.T.tolist(), backfill=policy == "easy", groups=groups_of(machine), **pools_of(machine)
    )
    assert dict(enumerate(outcome.start_s.tolist())) == {job: start for job, (start, _) in slow.items()}
    for job, (_, place) in slow.items():
        assert dict(zip(*outcome.places[job][:2], strict=True)) == place


ROOMS = [name for name in policies.names() if getattr(make_policy(name), "rooms", False)]


@given(
    workload=mixed(most=10),
    policy=st.sampled_from(ROOMS),
    placement=st.sampled_from([name for name in placements.names() if name != "torus-block"]),
)
@settings(max_examples=120, deadline=None)
def test_no_node_is_overbooked_and_no_job_lies_in_two_groups(workload: Workload, policy: str, placement: str) -> None:
    """For every policy and placement, at every visit of every job; and all of them end."""
    machine, _, kinds, kind = workload
    visits: list[Visit] = []
    outcome = outcome_of(workload, policy, placement, visits=visits)  # asserts at each start what is free
    assert not np.isnan(outcome.end_s).any()
    turns = sorted({time for _, begin, end, _ in visits for time in (begin, end)})
    for job, _, _, place in visits:
        assert len({int(machine.group[node]) for node in place.nodes}) == 1 or not machine.ladder
        assert sum(place.counts) == kinds[kind[job]].chunks
    for time in turns:
        held = np.zeros_like(machine.total)
        for job, begin, end, place in visits:
            if begin <= time < end:
                demand = kinds[kind[job]]
                for node, count in zip(place.nodes, place.counts, strict=True):
                    whole = machine.total[:, node]
                    held[:, node] += whole if demand.exclusive else count * np.array([demand.cores, demand.gpus, demand.memory])
        assert (held <= machine.total).all()


@pytest.mark.parametrize("policy", ["easy", "conservative"])
def test_the_head_waits_for_one_group_that_holds_all_of_it(policy: str) -> None:
    """Two nodes of two cores, a group each. At 10 s each has one core free, which is no place for the head: it fits at 20 s on b, and a job that ends by then passes."""
    machine = Machine.of([NodeClass("a", 1, 2), NodeClass("b", 1, 2)], ladder=(0, 1))
    run = [30.0, 0.5, 10.0, 20.0, 5.0, 15.0, 18.9]
    jobs = JobTable.of([0, 0, 0, 0, 1, 2, 2], run, [1, 1, 1, 1, 2, 1, 1])
    outcome = run_on_machine(jobs, machine, policy, check=True)
    assert [place.nodes for place in outcome.places.values()][:4] == [(0,), (0,), (1,), (1,)]
    assert outcome.start_s.tolist() == [0.0, 0.0, 0.0, 0.0, 20.0, 2.0, 17.0]
    assert outcome.places[4].nodes == (1,)


def test_a_job_passes_beside_the_head_in_another_group_than_it_would_then_have() -> None:
    """The head will have node 1 at 10 s. The long job would lie there too; it goes to node 2, though by then its first group, a, has room again."""
    machine = Machine.of([NodeClass("a", 1, 1), NodeClass("b", 2, 2)], ladder=(0, 1))
    jobs = JobTable.of([0, 0, 0, 0, 1, 1], [10.0, 10.0, 0.5, 50.0, 5.0, 100.0], [1, 1, 1, 1, 2, 1], nodes=[1] * 6)
    outcome = run_on_machine(jobs, machine, "easy", check=True)
    assert outcome.start_s.tolist() == [0.0, 0.0, 0.0, 0.0, 10.0, 1.0]
    assert [outcome.places[job].nodes for job in (3, 4, 5)] == [(2,), (1,), (2,)]


@st.composite
def halves(draw: st.DrawFn) -> tuple[JobTable, NodeClass, NodeClass, NodeClass, str]:
    """Jobs, one group of nodes and the same nodes as two groups, and whether jobs are serial or wide."""
    first, second = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    cores, gpus = draw(st.integers(1, 6)), draw(st.integers(0, 2))
    count = draw(st.integers(1, 16))

    def column(values: st.SearchStrategy[int]) -> Any:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)))

    shape = draw(st.sampled_from(["serial", "wide"]))
    size = column(st.integers(1, cores if shape == "serial" else cores * (first + second)))
    run = column(st.integers(1, 12)).astype(float)
    jobs = JobTable.of(
        np.sort(column(st.integers(0, 20)).astype(float)), run, size, estimate_s=run + column(st.sampled_from([0, 0, 3, 9])),
        gpus=column(st.integers(0, gpus)).astype(float) if shape == "serial" else None,
        nodes=np.ones(count, dtype=np.int64) if shape == "serial" else None,
    )  # fmt: skip
    return jobs, NodeClass("n", first + second, cores, gpus), NodeClass("a", first, cores, gpus), NodeClass("b", second, cores, gpus), shape


@pytest.mark.parametrize("policy", ["fcfs", "easy", "conservative", "sjf"])
@given(case=halves())
@settings(max_examples=40, deadline=None)
def test_a_group_split_in_two_alike_runs_the_same(policy: str, case: tuple[JobTable, NodeClass, NodeClass, NodeClass, str]) -> None:
    """Jobs of one node each, in groups of their own; and jobs of any size that may span them: start by start and node by node."""
    jobs, whole, first, second, shape = case
    one = Machine.of([whole])
    two = Machine.of([first, second], ladder=(0, 1) if shape == "serial" else ())
    place = make_placement("first-fit")
    a = run_on_machine(jobs, one, policy, placement=place, asking=Asking(), check=True)
    b = run_on_machine(
        jobs, two, policy, placement=place if shape == "serial" else LadderFirst(place, two, (0, 1)), asking=Asking(), check=True
    )
    assert a.start_s.tolist() == b.start_s.tolist()
    assert {job: where.nodes for job, where in a.places.items()} == {job: where.nodes for job, where in b.places.items()}
