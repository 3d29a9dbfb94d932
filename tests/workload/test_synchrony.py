"""The ``synchrony`` block of a training run: from a scenario to its step."""

from __future__ import annotations

from typing import Any

import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.cost.synchrony import order_statistic_normal, ring_exchange_s
from hpcsim.run.bind import bind

BASE: dict[str, Any] = {
    "schema": 1,
    "name": "demo",
    "question": "How long?",
    "cluster": {
        "nodes": {"gpu": {"type": "dgx-a100-80gb", "count": 4}},
        "fabric": {"topology": "fat-tree", "link": "hdr", "per_node": 8, "radix": 40},
    },
    "workload": {
        "training": {
            "run": {"model": "gpt2-xl", "steps": 10, "global_batch": 128, "sequence": 1024, "layout": {"tp": 1, "pp": 1, "micro_batch": 4}}
        }
    },
}


def plan(synchrony: dict[str, Any] | None) -> Any:
    run = dict(BASE["workload"]["training"]["run"])
    if synchrony is not None:
        run["synchrony"] = synchrony
    return bind({**BASE, "workload": {"training": {"run": run}}}).trainings[0]


def seconds(p: Any) -> float:
    return float(p.cost.step_time_s)


def terms(p: Any) -> dict[str, float]:
    return {k: float(v) for k, v in p.cost.terms.items()}


@pytest.mark.parametrize(
    "synchrony",
    [
        {"mode": "synchronous", "persistent": "3%", "jitter": "2%"},
        {"mode": "backup", "backup": 2, "jitter": "5%"},
        {"mode": "stale", "bound": 3, "jitter": "5%"},
        {"mode": "asynchronous", "servers": 4, "server_rate": "200 Gbit/s"},
        {"mode": "local", "every": 100, "sites": 4, "link": "1 Gbit/s", "latency": "30 ms"},
    ],
)
def test_terms_still_make_up_the_step(synchrony: dict[str, Any]) -> None:
    p = plan(synchrony)
    assert sum(terms(p).values()) == pytest.approx(seconds(p))
    assert p.work_s == pytest.approx(10 * seconds(p))
    assert float(p.cost.low_s) < seconds(p) < float(p.cost.high_s)
    assert float(p.cost.tokens_per_s) == pytest.approx(128 * 1024 / seconds(p))
    assert sum(float(v) for v in p.cost.activity.values()) == pytest.approx(1.0)
    same = {k for k, v in terms(plan(None)).items() if v == terms(p)[k]}
    assert {"matmul", "attention", "elementwise", "logits"} <= same


def test_without_a_word_nothing_changes() -> None:
    assert seconds(plan(None)) == seconds(plan({"mode": "synchronous"}))


def test_stragglers_as_given() -> None:
    p, even = plan({"jitter": "5%"}), plan({"jitter": 0.0, "persistent": 0.0})
    working = sum(terms(p)[k] for k in ("matmul", "attention", "logits", "recompute", "contention", "elementwise", "optimizer"))
    assert terms(p)["straggler"] == pytest.approx(0.05 * float(order_statistic_normal(32)) * working)
    assert terms(even)["straggler"] == 0.0
    stale = plan({"mode": "stale", "bound": 8, "jitter": "5%"})
    assert terms(stale)["straggler"] == pytest.approx(terms(p)["straggler"] / 3.0)
    assert seconds(plan({"mode": "stale", "bound": 0, "jitter": "5%"})) == pytest.approx(seconds(p))


def test_backup_replicas_wait_less_and_waste_work() -> None:
    calm, rough = ([seconds(plan({"mode": "backup", "backup": b, "jitter": j})) for b in (1, 4)] for j in (0.0, 0.3))
    assert calm[1] > calm[0], "without jitter a backup only wastes work"
    assert rough[0] < seconds(plan({"jitter": 0.3}))
    assert calm[0] == pytest.approx((seconds(plan({"jitter": 0.0, "persistent": 0.0}))) * 32 / 31)


def test_servers_that_bound_the_rate() -> None:
    slow = plan({"mode": "asynchronous", "servers": 1, "server_rate": "10 Gbit/s"})
    size = 2.0 * slow.parameters
    assert seconds(slow) == pytest.approx(32 * size / 1.25e9)
    assert any("31 updates old" in note and "bound" in note for note in slow.notes)
    fast = plan({"mode": "asynchronous", "servers": 64, "server_rate": "400 Gbit/s", "worker_rate": "400 Gbit/s"})
    assert seconds(fast) < seconds(slow)
    assert terms(fast)["data_parallel"] == pytest.approx(2 * size / 50e9)


def test_averages_over_a_wide_area() -> None:
    plain = seconds(plan(None))
    one, many = (plan({"mode": "local", "every": h, "sites": 8, "link": "1 Gbit/s"}) for h in (1, 500))
    exchange = float(ring_exchange_s(2.0 * one.parameters, sites=8, bytes_per_s=125e6))
    assert seconds(one) == pytest.approx(plain + exchange)
    assert seconds(many) == pytest.approx(plain + exchange / 500)
    hidden = plan({"mode": "local", "every": 500, "sites": 8, "link": "1 Gbit/s", "overlapped": True})
    assert seconds(hidden) == pytest.approx(max(plain, exchange / 500))


@pytest.mark.parametrize(
    ("synchrony", "code"),
    [
        ({"mode": "backup"}, "synchrony-missing"),
        ({"mode": "stale", "bound": 2, "sites": 4}, "synchrony-key"),
        ({"mode": "local", "every": 5, "sites": 3, "link": "1 Gbit/s"}, "synchrony-sites"),
        ({"mode": "backup", "backup": 32}, "synchrony-replicas"),
        ({"jitter": 0.9}, "out-of-range"),
        ({"mode": "sometimes"}, ""),
    ],
)
def test_what_makes_no_sense_is_refused(synchrony: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        plan(synchrony)
    problem = caught.value.problems[0]
    assert problem.path.startswith("workload.training.run.synchrony")
    assert not code or problem.code == code or code == "out-of-range"


def test_estimate_and_simulation_agree() -> None:
    run = {**BASE["workload"]["training"]["run"], "synchrony": {"mode": "asynchronous", "servers": 2}}
    scenario = hpcsim.load({**BASE, "workload": {"training": {"run": run}}})
    a, b = hpcsim.estimate(scenario), hpcsim.simulate(scenario)
    assert a.summary["step_time_s"] == b.summary["step_time_s"]
    assert a.summary["wall_clock_s"] == pytest.approx(b.summary["wall_clock_s"])
    assert any("updates old" in note for note in a.notes)
