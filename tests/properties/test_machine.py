"""Nodes with several resources: equality with an obvious scheduler, and what must hold for every policy and placement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.engine.clock import Clock
from hpcsim.engine.jobs import run_jobs
from hpcsim.engine.machine import MachineSystem
from hpcsim.engine.on_nodes import run_on_machine
from hpcsim.scheduling.conservative import Conservative
from hpcsim.scheduling.machine import DEVICE, Allocation, Demand, Free, Machine, NodeClass, Pool
from hpcsim.scheduling.placement import make_placement, placements
from hpcsim.scheduling.policies import Decision, View, make_policy, policies
from hpcsim.workload.jobs import JobTable
from tests.oracles.slow_machine import slow_machine

POOLS = (Pool("licence", 3), Pool("limit", 4, limit=True))


@st.composite
def machines(draw: st.DrawFn, *, pools: bool = True) -> Machine:
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    classes = [
        NodeClass(f"n{i}", count, draw(st.integers(1, 6)), draw(st.integers(0, 4)), draw(st.sampled_from([0, 6, 12])))
        for i, count in enumerate(counts)
    ]
    nodes = sum(counts)
    some = draw(st.lists(st.booleans(), min_size=nodes, max_size=nodes))
    return Machine.of(classes, sets=[some], pools=POOLS if pools else ())


def demands(machine: Machine) -> st.SearchStrategy[Demand]:
    """What the empty machine can hold."""
    pooled = st.sampled_from([(), ((0, 1),), ((0, 2), (1, 1)), ((1, 2),)]) if machine.pools else st.just(())
    return st.builds(
        Demand,
        chunks=st.integers(1, 6),
        cores=st.integers(1, 3),
        gpus=st.integers(0, 2),
        memory=st.sampled_from([0, 0, 1, 4]),
        apart=st.booleans(),
        exclusive=st.sampled_from([False, False, False, True]),
        where=st.integers(0, 1),
        pooled=pooled,
        share=st.just(0),
        window=st.just(-1),
    ).filter(machine.holds)


@st.composite
def workloads(draw: st.DrawFn, *, pools: bool = True, most: int = 14) -> tuple[Machine, JobTable, list[Demand], Any]:
    """A machine, jobs with many equal times, and what each asks for."""
    machine = draw(machines(pools=pools))
    kinds = draw(st.lists(demands(machine), min_size=1, max_size=4, unique=True))
    count = draw(st.integers(1, most))

    def column(values: st.SearchStrategy[int]) -> Any:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)))

    run = column(st.integers(1, 12)).astype(float)
    over = column(st.sampled_from([0, 0, 0, 1, 5, 20, -1])).astype(float)
    kind = column(st.integers(0, len(kinds) - 1))
    size = [kinds[k].chunks * kinds[k].cores for k in kind.tolist()]
    jobs = JobTable.of(
        np.sort(column(st.integers(0, 25)).astype(float)), run, size, estimate_s=np.maximum(run + over, 0.0), user=column(st.integers(0, 3))
    )
    return machine, jobs, kinds, kind


def outcome_of(
    workload: tuple[Machine, JobTable, list[Demand], Any], policy: str, placement: str = "first-fit", order: Any = "batch"
) -> Any:
    machine, jobs, kinds, kind = workload
    clock = Clock()
    system = MachineSystem(clock, machine, policy, placement=placement, order=order, check=True)
    system.submit(jobs, (kinds, kind))
    clock.run()
    return system.outcome()


def as_dicts(workload: tuple[Machine, JobTable, list[Demand], Any]) -> list[dict[str, Any]]:
    machine, jobs, kinds, kind = workload
    rows = []
    for at in range(len(jobs)):
        demand = kinds[kind[at]]
        pools = [dict(demand.pooled).get(pool, 0) for pool in range(len(machine.pools))]
        ask = demand._asdict() | {"nodes": np.flatnonzero(machine.sets[demand.where]).tolist(), "pools": pools}
        rows.append({"id": at, "submit": jobs.submit_s[at], "run": jobs.run_s[at], "estimate": jobs.estimate_s[at], "ask": ask})
    return rows


@pytest.mark.parametrize("policy", ["fcfs", "easy"])
@given(workload=workloads())
@settings(max_examples=80, deadline=None)
def test_equals_the_slow_reference(policy: str, workload: tuple[Machine, JobTable, list[Demand], Any]) -> None:
    """Start by start and node by node, with several resources, whole nodes, sets of nodes, licences and limits; estimates right, long and short."""
    machine = workload[0]
    outcome = outcome_of(workload, policy)
    slow = slow_machine(
        as_dicts(workload),
        machine.total.T.tolist(),
        backfill=policy == "easy",
        pools=[pool.capacity for pool in machine.pools],
        limits=[pool.limit for pool in machine.pools],
    )
    assert dict(enumerate(outcome.start_s.tolist())) == {job: start for job, (start, _) in slow.items()}
    for job, (_, place) in slow.items():
        assert dict(zip(*outcome.places[job][:2], strict=True)) == place


# these stop jobs, which then hold their nodes more than once between start and end
STOPPING = {"srpt", "las", "preempt", "deadline", "finish-time-fair", "gang"}
ROOMS = [name for name in policies.names() if getattr(make_policy(name), "rooms", False)]


@pytest.mark.parametrize("order", ["batch", "event"])
@pytest.mark.parametrize("policy", ROOMS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_one_node_is_one_pool(policy: str, order: Any, data: st.DataObject) -> None:
    """With cores alone on a single node every policy gives the schedule that it gives on a pool of processors."""
    count = data.draw(st.integers(1, 20))

    def column(values: st.SearchStrategy[int]) -> Any:
        return np.array(data.draw(st.lists(values, min_size=count, max_size=count)))

    run = column(st.integers(1, 12)).astype(float)
    jobs = JobTable.of(
        column(st.integers(0, 30)).astype(float), run, column(st.integers(1, 12)), estimate_s=np.maximum(run + column(st.sampled_from([0, 0, 1, 5, 20, -2])), 0),
        user=column(st.integers(0, 3)), group=column(st.integers(0, 1)),
    )  # fmt: skip
    pool = run_jobs(jobs, 12, policy, order=order)
    node = run_on_machine(jobs, Machine.of([NodeClass("pool", 1, 12)]), policy, order=order, check=True)
    assert node.start_s.tolist() == pool.start_s.tolist()


@pytest.mark.parametrize("placement", placements.names())
@given(workload=workloads(), policy=st.sampled_from(ROOMS), order=st.sampled_from(["batch", "event"]))
@settings(max_examples=30, deadline=None)
def test_no_node_is_overbooked(placement: str, workload: tuple[Machine, JobTable, list[Demand], Any], policy: str, order: Any) -> None:
    """I9, I11, I20: at every start the engine checks what is free; every job ends; each has the chunks that it asked for on nodes that it may use."""
    machine, jobs, kinds, kind = workload
    outcome = outcome_of(workload, policy, placement, order)
    assert not np.isnan(outcome.end_s).any()
    assert (outcome.start_s >= jobs.submit_s).all()
    if policy in STOPPING:
        assert (outcome.end_s - outcome.start_s >= jobs.run_s - 1e-9).all()
    else:
        np.testing.assert_allclose(outcome.end_s - outcome.start_s, jobs.run_s)
    for job, place in outcome.places.items():
        demand = kinds[kind[job]]
        assert sum(place.counts) == demand.chunks
        assert machine.sets[demand.where][list(place.nodes)].all()
        assert not demand.apart or set(place.counts) == {1}
    for time in np.unique(outcome.start_s) if policy not in STOPPING else ():  # of those the engine's own check tells
        now = (outcome.start_s <= time) & (outcome.end_s > time)
        used = np.zeros_like(machine.total)
        for job in np.flatnonzero(now).tolist():
            demand, place = kinds[kind[job]], outcome.places[job]
            nodes, counts = list(place.nodes), np.array(place.counts)
            each = np.array([demand.cores, demand.gpus, demand.memory])[:, None]
            used[:, nodes] += machine.total[:, nodes] if demand.exclusive else each * counts
        assert (used <= machine.total).all()


@pytest.mark.parametrize("placement", placements.names())
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_placement_places_whatever_fits(placement: str, data: st.DataObject) -> None:
    machine = data.draw(machines(pools=False))
    kinds = data.draw(st.lists(demands(machine), min_size=1, max_size=4))
    free = Free(machine, kinds)
    chooser = make_placement(placement)
    for kind in data.draw(st.lists(st.integers(0, len(kinds) - 1), min_size=1, max_size=6)):
        capacity = free.capacity(kind)
        if capacity.sum() < kinds[kind].chunks:
            continue
        before, state = capacity.copy(), free.copy()
        nodes, counts = chooser.choose(kinds[kind], capacity, free)
        assert (capacity == before).all()
        assert free == state
        assert nodes == sorted(set(nodes))
        assert sum(counts) == kinds[kind].chunks
        assert all(1 <= count <= capacity[node] for node, count in zip(nodes, counts, strict=True))
        free.take(kind, free.allocate(kind, nodes, counts))


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_shares_of_devices_never_exceed_one(data: st.DataObject) -> None:
    """Taking and giving back leaves exactly what was there, and no device is given out more than once over."""
    machine = Machine.of([NodeClass("gpu", 2, 16, 3)], shares=True)
    kinds = [
        Demand(1, share=DEVICE // 2),
        Demand(1, share=DEVICE // 7),
        Demand(1, gpus=1),
        Demand(2, gpus=2, apart=True),
        Demand(1, share=DEVICE // 3 * 2),
    ]
    free, whole = Free(machine, kinds), Free(machine, kinds)
    held: list[tuple[int, Allocation]] = []
    for step in data.draw(st.lists(st.integers(0, 9), max_size=40)):
        if step < len(kinds) and free.fits(step):
            nodes, counts = make_placement("first-fit").choose(kinds[step], free.capacity(step), free)
            place = free.allocate(step, nodes, counts)
            free.take(step, place)
            held.append((step, place))
        elif held:
            free.give(*held.pop(step % len(held)))
        assert free.devices is not None
        assert (free.devices >= 0).all()
        assert (free.devices == DEVICE).sum(axis=1).tolist() == free.free[1].tolist()
    for kind, place in held:
        free.give(kind, place)
    assert free == whole


@pytest.mark.parametrize("order", ["batch", "event"])
@given(workload=workloads(pools=False, most=25), early=st.booleans())
@settings(max_examples=40, deadline=None)
def test_conservative_keeps_its_promises_on_nodes(order: Any, workload: tuple[Machine, JobTable, list[Demand], Any], early: bool) -> None:
    """I38: no promise moves later, and every job starts no later than it was promised at first; estimates are upper bounds."""
    machine, jobs, kinds, kind = workload
    jobs = jobs.with_estimates(np.maximum(jobs.estimate_s, jobs.run_s) if early else jobs.run_s)
    promised: dict[int, float] = {}

    class Watched(Conservative):
        def decide(self, view: View, /) -> Decision:
            decision = super().decide(view)
            for job, slot in decision.memo.table.promised.items():
                assert slot.start_s <= promised.get(job, np.inf)
                promised[job] = slot.start_s
            return decision

    outcome = outcome_of((machine, jobs, kinds, kind), Watched(), order=order)
    assert not np.isnan(outcome.end_s).any()
    assert all(outcome.start_s[job] <= promise for job, promise in promised.items())
