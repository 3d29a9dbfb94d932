"""Sweeps survive: whoever runs the points, and however often they are stopped, the table is the same and no point is run twice."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.study import points as points_module
from hpcsim.study.store import Store

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = """schema: 1
name: survivor
question: Does the table survive?
cluster:
  nodes: {cpu: {type: cpu-2s, count: 8, cores: 8}}
  site: {pue: 1.4, carbon: 380 g/kWh, electricity: 0.15 USD/kWh}
workload: {jobs: {synthetic: {jobs: 60, duration: 8 h}}}
scheduler: {policy: easy}
simulate: {seed: 5}
sweep:
  cluster.nodes.cpu.count: 4..13:1
  scheduler.policy: [fcfs, easy]
  cluster.site.pue: lin:1.0..1.4:5
"""
AXES = {"cluster.nodes.cpu.count": "3..6:1", "scheduler.policy": ["fcfs", "easy"]}


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "survivor.yaml"
    path.write_text(SCENARIO, encoding="utf-8")
    return path


def command(scenario: Path, *more: str, out: str, seed: str = "0", wait: bool = True) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "hpcsim", "sweep", scenario.name, "--seeds", "2", "--no-charts", "--out", out, *more]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
    done = subprocess.Popen(argv, cwd=scenario.parent, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    if wait:
        _, err = done.communicate(timeout=240)
        assert done.returncode == 0, err.decode()
    return done


def records(folder: Path) -> Counter[str]:
    """Every sound record under a store, by key."""
    found: Counter[str] = Counter()
    for path in folder.glob("*.jsonl"):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                found[json.loads(line[9:])["key"]] += 1
    return found


def test_a_table_of_200_points_does_not_depend_on_who_runs_it(scenario: Path, tmp_path: Path) -> None:
    """In closed form, in one thread, two threads, and two shards: equal tables and equal stores."""
    one = hpcsim.sweep(scenario, seeds=2, mode="estimate", store=tmp_path / "one")
    assert len(one.sweep) == 200
    with ThreadPoolExecutor(2) as executor:
        two = hpcsim.sweep(scenario, seeds=2, mode="estimate", executor=executor, store=tmp_path / "two")
    for shard in ("0/2", "1/2"):
        last = hpcsim.sweep(scenario, seeds=2, mode="estimate", shard=shard, store=tmp_path / "shards")
    for name, other in (("two", two), ("shards", last)):
        other.write(tmp_path / name / "out")
        one.write(tmp_path / "one" / "out")
        for file in ("points.jsonl", "out/sweep.csv", "out/intervals.csv", "out/summary.json", "out/provenance.json"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "one" / file).read_bytes(), (name, file)


@pytest.mark.slow
def test_a_sweep_of_200_points_is_one_table_whoever_runs_it(scenario: Path, tmp_path: Path) -> None:
    """Jobs 1 and 2, two shards, killed twice and resumed, two hash seeds: equal bytes; nothing lost, nothing run twice."""
    command(scenario, out="one")
    expected = (tmp_path / "one" / "sweep.csv").read_bytes()
    assert expected.count(b"\n") == 201
    command(scenario, "--jobs", "2", out="two", seed="7")
    command(scenario, "--shard", "1/2", out="shards")
    assert not (tmp_path / "shards" / "sweep.csv").exists()
    assert len(records(tmp_path / "shards" / "points")) == 100
    command(scenario, "--shard", "2/2", "--jobs", "2", out="shards")
    killed, before = 0, Counter[str]()
    for limit in (40, 120):
        running = command(scenario, "--resume", "--jobs", "2", out="killed", wait=False)
        while running.poll() is None and sum(records(tmp_path / "killed" / "points").values()) < limit:
            time.sleep(0.01)
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            killed += 1
        running.communicate()
        after = records(tmp_path / "killed" / "points")
        assert before <= after
        assert set(after.values()) <= {1}
        before = after
    assert killed >= 1
    assert not (tmp_path / "killed" / "sweep.csv").exists()
    command(scenario, "--resume", out="killed")
    after = records(tmp_path / "killed" / "points")
    assert before <= after
    assert len(after) == 200
    assert set(after.values()) == {1}
    for name in ("two", "shards", "killed"):
        for file in ("sweep.csv", "intervals.csv", "summary.json", "report.html", "points/points.jsonl"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "one" / file).read_bytes(), (name, file)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Points that are run in this process, as they are run."""
    seen: list[Any] = []
    run = points_module._Bench.run

    def counting(self: Any, point: Any, varied: Any = None) -> Any:
        seen.append(point)
        return run(self, point, varied)

    monkeypatch.setattr(points_module._Bench, "run", counting)
    return seen


def test_what_is_there_is_not_run_again(scenario: Path, tmp_path: Path, counted: list[Any]) -> None:
    store = tmp_path / "store"
    whole = hpcsim.sweep(scenario, AXES, mode="estimate", store=store)
    assert len(counted) == 8
    again = hpcsim.sweep(scenario, AXES, mode="estimate", store=store, resume=True)
    assert len(counted) == 8
    assert again.sweep.equals(whole.sweep)
    more = hpcsim.sweep(scenario, {**AXES, "cluster.nodes.cpu.count": "3..7:1"}, mode="estimate", store=store, resume=True)
    assert len(counted) == 10
    assert more.sweep[:8].equals(whole.sweep)
    hpcsim.sweep(scenario, AXES, mode="simulate", store=store, resume=True)
    assert len(counted) == 18  # another mode is another point
    hpcsim.sweep(scenario, AXES, mode="estimate", store=store)
    assert len(counted) == 26  # without resume all is begun anew


def test_an_earlier_store_is_kept_until_the_new_one_holds_something(scenario: Path, tmp_path: Path, counted: list[Any]) -> None:
    """A kill right after a sweep was begun anew loses nothing; one later goes on with the new store."""
    store = tmp_path / "store"
    hpcsim.sweep(scenario, AXES, mode="estimate", store=store)
    Store(store).set_aside()
    Store(store).begin()
    hpcsim.sweep(scenario, AXES, mode="estimate", store=store, resume=True)
    assert len(counted) == 8
    assert not Store(store).earlier.exists()

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hpcsim.sweep(scenario, AXES, mode="estimate", store=store, progress=stop)
    assert len(records(store)) == 3
    assert len(records(Store(store).earlier)) == 8
    hpcsim.sweep(scenario, AXES, mode="estimate", store=store, resume=True)
    assert len(counted) == 16
    assert not Store(store).earlier.exists()


def test_what_no_figure_depends_on_is_no_part_of_a_point(scenario: Path, tmp_path: Path, counted: list[Any]) -> None:
    store = tmp_path / "store"
    hpcsim.sweep(scenario, AXES, mode="estimate", store=store)
    other = hpcsim.load(scenario).vary({"name": "other", "question": "And now?", "sweep": {"cluster.site.pue": [1.3]}})
    hpcsim.sweep(other, AXES, mode="estimate", store=store, resume=True)
    assert len(counted) == 8
    hpcsim.sweep(other.vary({"cluster.site.pue": 1.5}), AXES, mode="estimate", store=store, resume=True)
    assert len(counted) == 16


def test_a_file_that_a_scenario_names_is_part_of_its_points(tmp_path: Path, counted: list[Any]) -> None:
    log = "".join(f"{i} {10 * i} -1 {100 * i} {i} -1 -1 {i} {200 * i} -1 1 1 1 -1 -1 -1 -1 -1\n" for i in range(1, 9))
    (tmp_path / "log.swf").write_text(log, encoding="utf-8")
    text = SCENARIO.replace("{synthetic: {jobs: 60, duration: 8 h}}", "{trace: {file: log.swf}}")
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    axes = {"scheduler.policy": ["fcfs", "easy"]}
    first = hpcsim.sweep(tmp_path / "s.yaml", axes, store=tmp_path / "store").sweep
    (tmp_path / "log.swf").write_text(log + log.splitlines()[-1].replace("8 80", "9 90", 1) + "\n", encoding="utf-8")
    second = hpcsim.sweep(tmp_path / "s.yaml", axes, store=tmp_path / "store", resume=True).sweep
    assert len(counted) == 4
    assert second["jobs"].tolist() == [9, 9] != first["jobs"].tolist()


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage", "empty"])
def test_a_damaged_record_is_left_out_and_run_again(damage: str, scenario: Path, tmp_path: Path, counted: list[Any]) -> None:
    store = tmp_path / "store"
    whole = hpcsim.sweep(scenario, AXES, mode="estimate", store=store)
    file = store / "points.jsonl"
    data = file.read_bytes()
    lines = data.splitlines(keepends=True)
    file.write_bytes(
        {
            "cut": data[:-7],
            "flipped": b"".join([*lines[:3], lines[3].replace(b"easy", b"eazy").replace(b"1", b"2", 1), *lines[4:]]),
            "garbage": b"".join([*lines[:-1], b"\x00\xff nonsense\n"]),
            "empty": b"",
        }[damage]
    )
    again = hpcsim.sweep(scenario, AXES, mode="estimate", store=store, resume=True)
    assert len(counted) == (16 if damage == "empty" else 9)
    assert again.sweep.equals(whole.sweep)
    assert any("damaged" in note for note in again.notes) == (damage != "empty")
    assert set(records(store).values()) == {1}


def test_a_store_of_another_hpcsim_is_refused(scenario: Path, tmp_path: Path, counted: list[Any]) -> None:
    store = tmp_path / "store"
    hpcsim.sweep(scenario, AXES, mode="estimate", store=store)
    head = json.loads((store / "store.json").read_text("utf-8"))
    for wrong, code in (
        ({**head, "hpcsim": "0.0.1"}, "stale-store"),
        ({**head, "code": "0" * 64}, "stale-store"),
        ({**head, "format": 99}, "stale-store"),
        ({}, "not-a-store"),
        ([], "not-a-store"),
    ):
        (store / "store.json").write_text(json.dumps(wrong), encoding="utf-8")
        before = {path.name: path.read_bytes() for path in store.iterdir()}
        with pytest.raises(InputError) as caught:
            hpcsim.sweep(scenario, AXES, mode="estimate", store=store, resume=True)
        assert [p.code for p in caught.value.problems] == [code]
        assert {path.name: path.read_bytes() for path in store.iterdir()} == before
    assert len(counted) == 8
    (store / "store.json").unlink()
    with pytest.raises(InputError) as caught:
        hpcsim.sweep(scenario, AXES, mode="estimate", store=store, resume=True)
    assert [p.code for p in caught.value.problems] == ["not-a-store"]


def test_stores_are_merged(scenario: Path, tmp_path: Path, counted: list[Any]) -> None:
    for part in ("0/3", "1/3", "2/3"):
        partial = hpcsim.sweep(scenario, AXES, mode="estimate", shard=part, store=tmp_path / part[0])
        assert "sweep" not in partial.tables
        assert partial.summary["points_done"] in (2, 3)
    merged = hpcsim.sweep(scenario, AXES, mode="estimate", store=tmp_path / "all", merge=[tmp_path / name for name in "012"])
    assert len(counted) == 8
    assert merged.sweep.equals(hpcsim.sweep(scenario, AXES, mode="estimate").sweep)


def test_nothing_is_left_where_nothing_can_be_run(scenario: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        hpcsim.sweep(scenario, {"cluster.nodes.cpu.count": [0, -1]}, store=tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    hpcsim.sweep(scenario, AXES, mode="estimate", store=tmp_path / "c")
    before = records(tmp_path / "c")
    with pytest.raises(InputError):
        hpcsim.sweep(scenario, {"cluster.nodes.cpu.count": [0, -1]}, store=tmp_path / "c")
    assert records(tmp_path / "c") == before


def test_any_executor_runs_the_points(scenario: Path, tmp_path: Path) -> None:
    plain = hpcsim.sweep(scenario, AXES, seeds=2)
    with ThreadPoolExecutor(2) as executor:
        other = hpcsim.sweep(scenario, AXES, seeds=2, executor=executor, store=tmp_path / "store")
    assert other.sweep.equals(plain.sweep)
    assert len(records(tmp_path / "store")) == 16


def test_a_store_that_cannot_be_written_is_one_message(scenario: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        hpcsim.sweep(scenario, AXES, mode="estimate", store=tmp_path / "file" / "store")
    assert [p.code for p in caught.value.problems] == ["store-write"]


@pytest.mark.parametrize("shard", ["", "1", "a/b", "3/2", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_refused(shard: str, scenario: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        hpcsim.sweep(scenario, AXES, shard=shard, store=tmp_path / "s")
    assert [p.code for p in caught.value.problems] == ["bad-shard"]


def test_appending_is_whole_lines(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    for number in range(5):
        store.put({"key": str(number), "summary": {"x": 0.1 + number}, "problems": []})
    store.close()
    (file,) = (tmp_path / "s").glob("*.jsonl")
    data = file.read_bytes()
    for cut in range(len(data)):
        file.write_bytes(data[:cut])
        found, damaged = store.load()
        whole = data[:cut].count(b"\n")
        assert list(found) == [str(n) for n in range(whole)]
        assert damaged == (not data[:cut].endswith(b"\n") and cut > 0)


needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs dask.distributed")


@needs_dask
def test_a_dead_dask_address_is_one_message(scenario: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcsim.study.pool._WAIT_S", 0.3)
    for address in ("tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1:notaport"):
        with pytest.raises(InputError) as caught:
            hpcsim.sweep(scenario, AXES, mode="estimate", dask=address)
        assert [p.code for p in caught.value.problems] == ["dask-address"], address


@needs_dask
@pytest.mark.slow
def test_dask_writes_the_same_table(scenario: Path, tmp_path: Path) -> None:
    """The 200 points on a LocalCluster: equal bytes."""
    script = f"""
import distributed, subprocess, sys
if __name__ == "__main__":
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        argv = [sys.executable, "-m", "hpcsim", "sweep", {scenario.name!r}, "--seeds", "2", "--no-charts", "--out", "dask", "--dask"]
        sys.exit(subprocess.run([*argv, cluster.scheduler_address]).returncode)
"""
    (tmp_path / "cluster.py").write_text(script, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "cluster.py"], cwd=tmp_path, env=env, check=True, timeout=240)
    command(scenario, out="one")
    for file in ("sweep.csv", "summary.json", "report.html", "points/points.jsonl"):
        assert (tmp_path / "dask" / file).read_bytes() == (tmp_path / "one" / file).read_bytes(), file


@pytest.mark.parametrize("points", [pytest.param(10_000, marks=pytest.mark.slow), 400])
def test_closed_form_points_are_cheap(points: int, tmp_path: Path) -> None:
    """10,000 points under 20 CPU-seconds, 2 ms each, the store included."""
    bloom = hpcsim.load(ROOT / "scenarios" / "bloom-176b.yaml")
    axes = {"cluster.site.pue": f"lin:1.0..2.0:{points // 20}", "cluster.prices.a100": "lin:1..3 USD/h:20"}
    hpcsim.sweep(bloom, {"cluster.site.pue": [1.1]}, mode="estimate", store=tmp_path / "warm")
    began = time.process_time()
    table = hpcsim.sweep(bloom, axes, mode="estimate", store=tmp_path / "store").sweep
    spent_s = time.process_time() - began
    assert len(table) == points
    assert (table["problem"] == "").all()
    assert spent_s / points < 0.002 * (1 if points == 10_000 else 2)  # the few of the quick test carry the call's own cost


@pytest.mark.parametrize("points", [pytest.param(10_000, marks=pytest.mark.slow), 300])
def test_points_whose_step_is_new_are_cheap_too(points: int, tmp_path: Path) -> None:
    """10,000 sizes of machine and batch, each with a step of its own, under 20 CPU-seconds: the steps are worked out together."""
    bloom = hpcsim.load(ROOT / "scenarios" / "bloom-176b.yaml")
    counts = [(6 * k, 16 * k * m) for k in range(1, points // 6 + 2) for m in range(1, 7)][:points]
    axes = {("cluster.nodes.a100.count", "workload.training.bloom.global_batch"): counts}
    hpcsim.sweep(bloom, {"cluster.site.pue": [1.1]}, mode="estimate", store=tmp_path / "warm")
    began = time.process_time()
    table = hpcsim.sweep(bloom, axes, mode="estimate", store=tmp_path / "store").sweep
    spent_s = time.process_time() - began
    assert table["step_time_s"].nunique() > points // 2
    assert spent_s / points < 0.002 * (1 if points == 10_000 else 3)  # cores are shared, and the few carry the call's own cost


def test_a_sweep_costs_no_more_than_its_runs_alone(tmp_path: Path) -> None:
    """Keeping and collecting a simulated point costs less than 5 ms over the bare simulation."""
    from hpcsim.run.simulate import simulate_figures

    bloom = hpcsim.load(ROOT / "scenarios" / "bloom-176b.yaml")
    values = [1.0 + k / 100 for k in range(60)]
    simulate_figures(bloom)
    began = time.process_time()
    for value in values[:20]:
        simulate_figures(bloom.vary({"cluster.site.pue": value}))
    alone_s = (time.process_time() - began) / 20
    began = time.process_time()
    hpcsim.sweep(bloom, {"cluster.site.pue": values}, store=tmp_path / "store")
    assert (time.process_time() - began) / 60 < alone_s + 0.005
