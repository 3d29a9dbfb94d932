"""Node failures under batch jobs: who dies, what leaves the pool, how often."""

import numpy as np
import pytest

from hpcsim.base.rng import stream
from hpcsim.engine.clock import Clock
from hpcsim.engine.failures import SpareNodes
from hpcsim.engine.jobs import BatchSystem
from hpcsim.engine.outages import PoolOutages
from hpcsim.workload.jobs import JobTable


def room(jobs, *, nodes, per_node, mtbf_s, repair_s=0.0, spares=0, seed=1, policy="fcfs"):
    clock = Clock()
    pool = BatchSystem(clock, nodes * per_node, policy, check=True)
    numbers = pool.submit(jobs)
    outages = PoolOutages(
        clock, pool, numbers, per_node=per_node, mtbf_s=mtbf_s, spares=SpareNodes(0, spares, repair_s), rng=stream(seed, "failures")
    )
    outages.begin()
    return clock, pool, outages


def test_a_job_on_every_node_dies_with_the_first_failure():
    clock, pool, outages = room(JobTable.of([0.0], [1e6], [40]), nodes=10, per_node=4, mtbf_s=1e4)
    clock.run()
    outcome = pool.outcome()
    assert outcome.status.tolist() == ["failed"]
    assert outages.failures == 1
    assert outcome.end_s[0] < 1e6


def test_survival_follows_the_exponential_law():
    # a job of 3 nodes among 10 runs for 1000 s; it lives with probability e^{-3·1000/mtbf}, whatever happens to the other nodes
    mtbf, runs = 5000.0, 400
    lived = 0
    for seed in range(runs):
        clock, pool, _ = room(JobTable.of([0.0], [1000.0], [12]), nodes=10, per_node=4, mtbf_s=mtbf, seed=seed)
        clock.run()
        lived += pool.outcome().status[0] == "finished"
    expected = np.exp(-3 * 1000.0 / mtbf)
    assert lived / runs == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / runs))


def test_neighbours_on_other_nodes_live_on():
    jobs = JobTable.of(np.zeros(10), np.full(10, 1000.0), np.full(10, 4))
    clock, pool, outages = room(jobs, nodes=10, per_node=4, mtbf_s=20000.0, seed=3)
    clock.run()
    failed = int((pool.outcome().status == "failed").sum())
    assert failed <= outages.failures
    assert failed < 10


def test_without_a_spare_the_processors_are_gone_until_the_repair():
    jobs = JobTable.of(np.zeros(40), np.full(40, 500.0), np.full(40, 4))
    clock, pool, outages = room(jobs, nodes=10, per_node=4, mtbf_s=5000.0, repair_s=800.0, seed=5)
    clock.run()
    assert outages.failures > 0
    assert max(down for _, down in pool.down_changes) >= 4
    assert pool.down_changes[-1][1] == 0
    clock, pool, _ = room(jobs, nodes=10, per_node=4, mtbf_s=5000.0, repair_s=800.0, spares=1000, seed=5)
    clock.run()
    assert not pool.down_changes


def test_no_event_is_left_when_the_last_job_has_ended():
    clock, _, _ = room(JobTable.of([0.0], [10.0], [4]), nodes=10, per_node=4, mtbf_s=1e9)
    clock.run()
    assert clock.now < 1e12
