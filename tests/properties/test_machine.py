"""Nodes with several resources: equality with an obvious scheduler, and what must hold for every policy and placement."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcsim.engine.clock import Clock
from hpcsim.engine.jobs import run_jobs
from hpcsim.engine.machine import MachineSystem
from hpcsim.engine.on_nodes import run_on_machine
from hpcsim.engine.stopping import Stopping
from hpcsim.scheduling.conservative import Conservative
from hpcsim.scheduling.machine import DEVICE, Allocation, Demand, Free, Machine, NodeClass, Pool
from hpcsim.scheduling.placement import make_placement, placements
from hpcsim.scheduling.policies import Decision, View, make_policy, policies
from hpcsim.workload.jobs import JobTable
from tests.oracles.slow_machine import slow_machine
from tests.oracles.slow_stopping import Costs, slow_conservative, slow_stopping

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
        np.sort(column(st.integers(0, 25)).astype(float)), run, size, estimate_s=np.maximum(run + over, 0.0), user=column(st.integers(0, 3)),
        priority=column(st.integers(0, 2)).astype(float),
    )  # fmt: skip
    return machine, jobs, kinds, kind


Visit = tuple[int, float, float, Allocation]
"""A time of a job on the machine: job, from when, until when, where."""


def outcome_of(
    workload: tuple[Machine, JobTable, list[Demand], Any], policy: Any, placement: str = "first-fit", order: Any = "batch",
    stopping: Stopping | None = None, visits: list[Visit] | None = None,
) -> Any:  # fmt: skip
    machine, jobs, kinds, kind = workload
    clock = Clock()
    here: dict[int, tuple[float, Allocation]] = {}

    def watch(what: str, time: float, fields: Any) -> None:
        if what == "start":
            here[fields["job"]] = time, system.allocations[fields["job"]]
        elif what in ("stop", "end") and visits is not None:
            begin, place = here.pop(fields["job"])
            visits.append((fields["job"], begin, time, place))

    watchers = [watch] if visits is not None else []
    system = MachineSystem(clock, machine, policy, placement=placement, order=order, stopping=stopping, check=True, observers=watchers)
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
        rows.append({
            "id": at, "submit": float(jobs.submit_s[at]), "run": float(jobs.run_s[at]), "estimate": float(jobs.estimate_s[at]), "ask": ask,
            "priority": float(jobs.filled("priority")[at]), "size": machine.processor_equivalents(demand),
        })  # fmt: skip
    return rows


def pools_of(machine: Machine) -> dict[str, Any]:
    return {"pools": [pool.capacity for pool in machine.pools], "limits": [pool.limit for pool in machine.pools]}


@pytest.mark.parametrize("policy", ["fcfs", "easy"])
@given(workload=workloads())
@settings(max_examples=80, deadline=None)
def test_equals_the_slow_reference(policy: str, workload: tuple[Machine, JobTable, list[Demand], Any]) -> None:
    """Start by start and node by node, with several resources, whole nodes, sets of nodes, licences and limits; estimates right, long and short."""
    machine = workload[0]
    outcome = outcome_of(workload, policy)
    slow = slow_machine(as_dicts(workload), machine.total.T.tolist(), backfill=policy == "easy", **pools_of(machine))
    assert dict(enumerate(outcome.start_s.tolist())) == {job: start for job, (start, _) in slow.items()}
    for job, (_, place) in slow.items():
        assert dict(zip(*outcome.places[job][:2], strict=True)) == place


@given(workload=workloads(most=10))
@settings(max_examples=60, deadline=None)
def test_conservative_equals_the_slow_reference_on_nodes(workload: tuple[Machine, JobTable, list[Demand], Any]) -> None:
    """Start by start and node by node; estimates right, long and short."""
    machine = workload[0]
    outcome = outcome_of(workload, "conservative")
    slow = slow_conservative(as_dicts(workload), machine.total.T.tolist(), **pools_of(machine))
    assert dict(enumerate(outcome.start_s.tolist())) == {job: start for job, (start, _) in slow.items()}
    for job, (_, place) in slow.items():
        assert dict(zip(*outcome.places[job][:2], strict=True)) == place


# these stop jobs, which then hold their nodes more than once between start and end: an option, and its name
STOPPING = {"srpt": (0.0, ""), "las": (6.0, "threshold_s"), "preempt": (0.0, "grace_s"), "deadline": (2.0, "slack"), "finish-time-fair": (2.0, "lease_s"), "gang": (2.0, "quantum_s")}  # fmt: skip
COSTS = st.sampled_from([Stopping(), Stopping(1.0, 2.0, 3.0, 1.0), Stopping(1.0, 2.0, 3.0, 1.0, notice=False)])


@pytest.mark.parametrize("name", STOPPING)
@given(
    workload=workloads(most=10),
    how=st.sampled_from(["suspend", "checkpoint", "requeue", "cancel"]),
    costs=COSTS,
    grace=st.sampled_from([0.0, 3.0]),
)
@settings(max_examples=25, deadline=None)
def test_policies_that_stop_equal_the_slow_reference(
    name: str, workload: tuple[Machine, JobTable, list[Demand], Any], how: str, costs: Stopping, grace: float
) -> None:
    """Start by start and stop by stop, with several resources, and with what stopping costs."""
    machine = workload[0]
    if how in ("checkpoint", "requeue") and name in ("las", "gang", "finish-time-fair"):
        how = "suspend"  # with costs as large as the jobs here, who loses what it did in its turn never ends
    option, key = (grace, "grace_s") if name == "preempt" else STOPPING[name]
    policy = make_policy(name, {"mode": how} | ({key: option} if key else {}))
    visits: list[Visit] = []
    outcome_of(workload, policy, stopping=costs, visits=visits)
    slow = slow_stopping(
        as_dicts(workload), machine.total.T.tolist(), name, option=option, how=how, cores=machine.cores,
        costs=Costs(costs.save_s, costs.restore_s, costs.interval_s, costs.resubmit_s, costs.notice), **pools_of(machine),
    )  # fmt: skip
    for job, rows in slow.items():
        mine = [(begin, end) for number, begin, end, _ in visits if number == job]
        np.testing.assert_allclose(np.array(mine).reshape(-1, 2), np.array([row[:2] for row in rows]).reshape(-1, 2), atol=1e-9)


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
@given(workload=workloads(), policy=st.sampled_from(ROOMS), order=st.sampled_from(["batch", "event"]), costs=COSTS)
@settings(max_examples=30, deadline=None)
def test_no_node_is_overbooked(
    placement: str, workload: tuple[Machine, JobTable, list[Demand], Any], policy: str, order: Any, costs: Stopping
) -> None:
    """I9, I11, I20: every job ends and has been on the machine for its work, for what it lost and for what it took to be where it was; each time with the
    chunks that it asked for on nodes that it may use; and at no time is more of a node taken than there is."""
    machine, jobs, kinds, kind = workload
    visits: list[Visit] = []
    outcome = outcome_of(workload, policy, placement, order, costs, visits)
    assert not np.isnan(outcome.end_s).any()
    assert (outcome.start_s >= jobs.submit_s).all()
    stays = [[(begin, end) for number, begin, end, _ in visits if number == job] for job in range(len(jobs))]
    stops = [[stretch for stretch in outcome.stretches if stretch.job == job] for job in range(len(jobs))]
    for job, (own, stopped) in enumerate(zip(stays, stops, strict=True)):
        again = [min(end - begin, costs.restart_s(stretch.how)) for (begin, end), stretch in zip(own[1:], stopped, strict=True)]
        assert sum(end - begin for begin, end in own) == pytest.approx(jobs.run_s[job] + sum(s.lost_s for s in stopped) + sum(again))
        assert [(s.start_s, s.end_s) for s in stopped] == own[:-1]
        assert all(one[1] <= two[0] for one, two in pairwise(own))
        assert (own[0][0], own[-1][1]) == (outcome.start_s[job], outcome.end_s[job])
        assert policy in STOPPING or len(own) == 1
    for job, _, _, place in visits:
        demand = kinds[kind[job]]
        assert sum(place.counts) == demand.chunks
        assert machine.sets[demand.where][list(place.nodes)].all()
        assert not demand.apart or set(place.counts) == {1}
    for time in {begin for _, begin, _, _ in visits}:
        used = np.zeros_like(machine.total)
        for job, begin, end, place in visits:
            if begin <= time < end:
                demand, nodes = kinds[kind[job]], list(place.nodes)
                each = np.array([demand.cores, demand.gpus, demand.memory])[:, None]
                used[:, nodes] += machine.total[:, nodes] if demand.exclusive else each * np.array(place.counts)
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
