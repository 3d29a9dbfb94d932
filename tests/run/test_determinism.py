"""The same scenario and seed write the same bytes, whatever the order in which Python keeps its sets and whoever runs beside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SCENARIO = """schema: 1
name: everything
question: Do equal runs write equal bytes?
cluster:
  nodes:
    gpu: {type: dgx-a100-80gb, count: 3, spares: 1}
    old: {type: dgx-1v-32gb, count: 2}
    cpu: {type: cpu-2s, count: 4, cores: 8, speed: 1 TFLOP/s}
  fabric: {topology: fat-tree, link: hdr, per_node: 4, radix: 40}
  storage:
    scratch: {type: lustre, capacity: 1 PB, read: 100 GB/s, write: 50 GB/s, power: 1 kW}
    home: {type: nvme, capacity: 1 PB, read: 10 GB/s, write: 5 GB/s, power: 1 kW}
  site: {pue: 1.2, region: DEU}
  prices: {gpu: 1.8 USD/h, old: 0.5 USD/h, cpu: {capex: 15 kUSD, lifetime: 5 years}}
workload:
  training:
    one: {model: gpt2-xl, tokens: 10 G, global_batch: 384, sequence: 1024, layout: auto, nodes: gpu, checkpoint: {to: scratch}}
    two: {model: gpt2-xl, tokens: 2 G, global_batch: 384, sequence: 1024, precision: fp16, layout: auto, nodes: old, checkpoint: {every: 1 h, to: home}}
  tasks:
    images: {data: 100 GB, work: 1 PFLOP, from_storage: home, nodes: [cpu]}
  matrix_products:
    square: {rows: 9001, inner: 8000, columns: 7000, ranks: 3, nodes: cpu}
scheduler: {policy: easy}
failures: {node: {mtbf: 30 h, repair: 5 h}}
published: {makespan_s: {value: 1 day, source: nobody}}
"""
JOBS = """schema: 1
name: jobs
question: And jobs?
cluster:
  nodes: {cpu: {type: cpu-2s, count: 4, cores: 8}}
  site: {pue: 1.4, region: DEU}
workload:
  jobs: {synthetic: {load: 0.8, duration: 1 day}}
scheduler: {policy: easy-sjbf}
"""
PROGRAM = """
import sys
from hpcsim.cli.main import main
def go(command, name, *rest):
    assert main([command, name, *rest, "--out", sys.argv[1] + "/" + command + name.partition(".")[0], "--quiet"]) == 0
go("run", "everything.yaml")
go("run", "jobs.yaml", "--no-charts")
go("sweep", "jobs.yaml", "--axis", "cluster.nodes.cpu.count=3,5", "--no-charts")
go("replay", "log.swf", "--nodes", "32", "--policy", "easy,sjf", "--no-charts")
"""


def test_two_hash_seeds_write_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "everything.yaml").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "jobs.yaml").write_text(JOBS, encoding="utf-8")
    rows = (f"{i} {i * 7} -1 {i * 13 % 101 + 1} {i % 30 + 1} -1 -1 {i % 30 + 1} 200 -1 1 {i % 3} 1 -1 -1 -1 -1 -1\n" for i in range(1, 80))
    (tmp_path / "log.swf").write_text("".join(rows), encoding="utf-8")
    running = []
    for seed in ("0", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        running.append(
            subprocess.Popen([sys.executable, "-c", PROGRAM, seed], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        )
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    first, second = ({p.relative_to(tmp_path / s): p.read_bytes() for p in (tmp_path / s).rglob("*") if p.is_file()} for s in ("0", "4242"))
    assert {"jobs.csv", "report.html", "sweep.csv", "policies.csv", "provenance.json"} <= {p.name for p in first}
    assert first.keys() == second.keys()
    assert [str(path) for path in first if first[path] != second[path]] == []
