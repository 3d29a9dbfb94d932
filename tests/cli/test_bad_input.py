"""Wrong input to every command: each mistake once, with its code, status 2, and nothing written."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcsim.base.units import parse_quantity

GOOD = """schema: 1
name: demo
question: q?
cluster:
  nodes: {gpu: {type: dgx-a100-80gb, count: 2}}
  fabric: {topology: fat-tree, link: hdr, per_node: 8, radix: 40}
  storage: {scratch: {type: lustre, capacity: 1 PB, read: 100 GB/s, write: 50 GB/s, power: 1 kW}}
  site: {pue: 1.2, carbon: 57 g/kWh, electricity: 0.12 USD/kWh}
  prices: {gpu: 1.8 USD/h}
workload:
  training:
    run: {model: gpt2-xl, tokens: 1 G, global_batch: 96, sequence: 1024, layout: {tp: 1, pp: 1}}
"""
BATCH = """schema: 1
name: batch
question: q?
cluster:
  nodes: {cpu: {type: cpu-2s, count: 4, cores: 8}}
  site: {pue: 1.4, carbon: 380 g/kWh, electricity: 0.15 USD/kWh}
workload:
  jobs: {trace: {file: log.swf}}
scheduler: {policy: easy}
"""
RUN = "workload.training.run"


def row(job: int, submit: object, run: object, size: object) -> str:
    return f"{job} {submit} -1 {run} {size} -1 -1 {size} {run} -1 1 1 1 -1 -1 -1 -1 -1\n"


LOG = "; MaxProcs: 32\n" + row(1, 0, 10, 2) + row(2, 5, 20, 32) + row(3, 6, 5, 2)

FILES: dict[str, str | bytes] = {
    "good.yaml": GOOD,
    "batch.yaml": BATCH,
    "log.swf": LOG,
    "empty.yaml": "",
    "blank.yaml": "\n  \n",
    "comment.yaml": "# nothing\n",
    "binary.yaml": bytes(range(256)),
    "latin.yaml": GOOD.replace("q?", "Größe?").encode("latin-1"),
    "broken.yaml": GOOD + "scheduler: {policy: [easy\n",
    "tabbed.yaml": "schema: 1\n\tname: x\n",
    "list.yaml": "- 1\n- 2\n",
    "text.yaml": "hello\n",
    "two.yaml": GOOD + "---\n" + GOOD,
    "anchored.yaml": "a: &a [*a]\n",
    "deep.yaml": "a: " + "[" * 5000 + "\n",
    "twice.yaml": GOOD + "name: again\n",
    "many.yaml": GOOD.replace("count: 2", "count: -2").replace("57 g/kWh", "57").replace("name: demo", "nmae: demo"),
    "empty.swf": "",
    "comments.swf": "; nothing\n; more\n",
    "binary.swf": bytes(range(256)) * 8,
    "ragged.swf": "1 2 3\n4 5\n",
    "words.swf": row(1, "noon", 10, 2),
    "zero.swf": row(1, 0, 0, 2) + row(2, 5, 0, 2),
    "wide.swf": row(1, 0, 10, 33),
    "log.txt": LOG,
    "cut.swf.gz": gzip.compress((LOG * 100).encode())[:80],
    "folder.yaml/inside.txt": "",
    "folder.swf/inside.txt": "",
    "out/summary.json": "{}",
    "out/notes.txt": "mine",
}
MACHINE_TYPE = GOOD.replace("type: dgx-a100-80gb", "type: {}")


def sets(*settings: str) -> list[str]:
    return ["run", "good.yaml", "--out", "out", *(word for setting in settings for word in ("--set", setting))]


def jobs(*settings: str) -> list[str]:
    return ["run", "batch.yaml", "--out", "out", *(word for setting in settings for word in ("--set", setting))]


def log(name: str) -> list[str]:
    return jobs(f"workload.jobs.trace.file={name}")


CASES: dict[str, tuple[list[str], list[str]]] = {
    # arguments
    "an unknown command": (["fly"], ["bad-arguments"]),
    "an unknown option": (["--fly"], ["bad-arguments"]),
    "an unknown option of a command": (["run", "good.yaml", "--fly"], ["bad-arguments"]),
    "an option cut short": (["run", "good.yaml", "--form", "json"], ["bad-arguments"]),
    "no scenario": (["run"], ["bad-arguments"]),
    "nothing to check": (["check"], ["bad-arguments"]),
    "an unknown format": (["run", "good.yaml", "--format", "xml"], ["bad-arguments"]),
    "a seed in words": (["run", "good.yaml", "--seed", "x"], ["bad-arguments"]),
    "half a seed": (["run", "good.yaml", "--seed", "1.5"], ["bad-arguments"]),
    "a negative seed": (["run", "good.yaml", "--seed", "-1"], ["out-of-range"]),
    "a seed too large": (["run", "good.yaml", "--seed", str(2**63)], ["out-of-range"]),
    "a replay without machine": (["replay", "log.swf"], ["bad-arguments"]),
    "a replay on words": (["replay", "log.swf", "--nodes", "many"], ["bad-arguments"]),
    "an unknown order": (["replay", "log.swf", "--nodes", "32", "--order", "any"], ["bad-arguments"]),
    "a sweep in an unknown mode": (["sweep", "good.yaml", "--mode", "guess"], ["bad-arguments"]),
    "an unknown catalog action": (["catalog", "eat"], ["bad-arguments"]),
    "a catalog entry without name": (["catalog", "show"], ["bad-arguments"]),
    "words after the schema": (["schema", "please"], ["bad-arguments"]),
    # scenario files
    "a missing file": (["run", "nope.yaml"], ["file-missing"]),
    "a missing folder": (["run", "no/such/place.yaml"], ["file-missing"]),
    "a file as folder": (["run", "good.yaml/x.yaml"], ["file-missing"]),
    "a folder for a file": (["run", "folder.yaml"], ["file-is-a-folder"]),
    "no name": (["run", ""], ["file-is-a-folder"]),
    "a name without end": (["run", "x" * 5000 + ".yaml"], ["file-unreadable"]),
    "an empty file": (["run", "empty.yaml"], ["file-empty"]),
    "a blank file": (["run", "blank.yaml"], ["file-empty"]),
    "nothing but a comment": (["run", "comment.yaml"], ["file-empty"]),
    "a binary file": (["run", "binary.yaml"], ["file-not-text"]),
    "another encoding": (["run", "latin.yaml"], ["file-not-text"]),
    "broken YAML": (["run", "broken.yaml"], ["yaml-syntax"]),
    "tabs": (["run", "tabbed.yaml"], ["yaml-syntax"]),
    "a list": (["run", "list.yaml"], ["not-a-map"]),
    "text": (["run", "text.yaml"], ["not-a-map"]),
    "two documents": (["run", "two.yaml"], ["yaml-syntax"]),
    "a key twice": (["run", "twice.yaml"], ["duplicate-key"]),
    "three mistakes": (["run", "many.yaml"], ["missing-key", "unknown-key", "out-of-range", "unitless-quantity"]),
    "three mistakes, estimated": (["estimate", "many.yaml"], ["missing-key", "unknown-key", "out-of-range", "unitless-quantity"]),
    "a sweep of a missing file": (["sweep", "nope.yaml", "--axis", "a=1"], ["file-missing"]),
    # values
    "no setting": (sets("x"), ["bad-setting"]),
    "a setting of nothing": (sets("=3"), ["bad-setting"]),
    "a path with a hole": (sets("cluster..nodes=3"), ["no-such-path"]),
    "an unknown group": (sets("cluster.nodes.cpu.count=3"), ["no-such-path"]),
    "an unknown key": (sets("cluster.sight.pue=1.2"), ["no-such-path"]),
    "an unknown last key": (sets("cluster.site.peu=1.2"), ["unknown-key"]),
    "no count": (sets("cluster.nodes.gpu.count="), ["not-a-count"]),
    "a negative count": (sets("cluster.nodes.gpu.count=-1"), ["out-of-range"]),
    "a count of zero": (sets("cluster.nodes.gpu.count=0"), ["out-of-range"]),
    "half a node": (sets("cluster.nodes.gpu.count=1.5"), ["not-a-count"]),
    "a count that is not finite": (sets("cluster.nodes.gpu.count=.nan"), ["not-finite"]),
    "an infinite count": (sets("cluster.nodes.gpu.count=.inf"), ["not-finite"]),
    "a huge count": (sets("cluster.nodes.gpu.count=1e30"), ["out-of-range"]),
    "a PUE below one": (sets("cluster.site.pue=0.5"), ["not-a-fraction"]),
    "a PUE that is no number": (sets("cluster.site.pue=.nan"), ["not-a-fraction"]),
    "carbon without unit": (sets("cluster.site.carbon=57"), ["unitless-quantity"]),
    "carbon as a mass": (sets("cluster.site.carbon=57 kg"), ["wrong-dimension"]),
    "negative carbon": (sets("cluster.site.carbon=-57 g/kWh"), ["out-of-range"]),
    "carbon beyond sense": (sets("cluster.site.carbon=57 Mt/kWh"), ["out-of-range"]),
    "carbon in pounds": (sets("cluster.site.carbon=57 lb/kWh"), ["unknown-unit"]),
    "a huge rate": (sets("cluster.storage.scratch.read=1e30 GB/s"), ["out-of-range"]),
    "a rate that is no rate": (sets("cluster.storage.scratch.read=100 GB"), ["wrong-dimension"]),
    "no tokens": (sets(f"{RUN}.tokens=0"), ["out-of-range"]),
    "tokens and steps": (sets(f"{RUN}.steps=5"), ["exactly-one"]),
    "two mistakes at once": (sets("cluster.site.pue=x", "cluster.nodes.gpu.count=0"), ["out-of-range", "not-a-fraction"]),
    # names
    "an unknown policy": (sets("scheduler.policy=best"), ["unknown-name"]),
    "no policy": (sets("scheduler.policy="), ["wrong-type"]),
    "an unknown figure": (sets("published.speed={value: 1, source: s}"), ["unknown-metric"]),
    "a figure of another kind": (sets("published.wall_clock_s={value: 1 kg, source: s}"), ["wrong-dimension"]),
    "a figure without unit": (sets("published.wall_clock_s={value: 1, source: s}"), ["unitless-quantity"]),
    "a share that is none": (sets("published.mfu_frac={value: 3, source: s}"), ["not-a-fraction"]),
    "an unknown region": (sets("cluster.site={region: Atlantis}"), ["unknown-catalog-name"]),
    "an unknown storage": (sets("cluster.storage.scratch.type=tape9000"), ["unknown-storage"]),
    "an unknown tier": (sets(f"{RUN}.checkpoint={{to: nowhere}}"), ["unknown-storage-tier"]),
    "an unknown link": (sets("cluster.fabric.link=string"), ["unknown-catalog-name"]),
    "an unknown topology": (sets("cluster.fabric.topology=pretzel"), ["unknown-name"]),
    "an unknown node type": (sets("cluster.nodes.gpu.type=dgx-z9"), ["unknown-catalog-name"]),
    "an unknown accelerator": (sets("cluster.nodes.gpu.accelerator=z9"), ["unknown-catalog-name"]),
    "an unknown model": (sets(f"{RUN}.model=gpt-99"), ["unknown-catalog-name"]),
    "an unknown node group": (sets(f"{RUN}.nodes=cpu"), ["unknown-node-group"]),
    "a price of nothing": (sets("cluster.prices.cpu=1 USD/h"), ["unknown-node-group"]),
    "an unknown provider": (sets("cluster.prices.gpu={provider: nobody}"), ["no-catalog-price"]),
    "a name that climbs": (sets("name=../x"), ["bad-name"]),
    "a quantum node": (sets("cluster.nodes.gpu.type=quantum"), ["quantum-refused"]),
    "a quantum accelerator": (sets("cluster.nodes.gpu.accelerator=qpu"), ["quantum-refused"]),
    "a quantum estimate": (
        ["estimate", "--model", "gpt2-xl", "--accelerator", "quantum", "--count", "8", "--global-batch", "8", "--sequence", "64"],
        ["quantum-refused"],
    ),
    # what the parts make together
    "devices that the layout does not divide": (sets(f"{RUN}.layout=tp=3"), ["layout-world-size"]),
    "replicas that do not come out": (sets(f"{RUN}.layout=dp=3"), ["layout-world-size"]),
    "a batch that does not divide": (sets(f"{RUN}.global_batch=7"), ["layout-invalid"]),
    "more stages than layers": (sets(f"{RUN}.layout=pp=16,vpp=50"), ["layout-invalid"]),
    "heads that do not divide": (sets(f"{RUN}.layout=tp=8"), ["layout-invalid"]),
    "a model that does not fit": (sets(f"{RUN}.model=gpt3-175b"), ["model-does-not-fit"]),
    "no layout that fits": (sets(f"{RUN}.model=gpt3-175b", f"{RUN}.layout=auto"), ["no-layout-fits"]),
    "arithmetic that the device lacks": (sets(f"{RUN}.precision=fp8"), ["precision-unsupported"]),
    "more nodes than there are": (sets(f"{RUN}.count=3"), ["training-count"]),
    "nodes without a fabric": (sets("cluster.fabric=null"), ["training-without-fabric"]),
    "a switch without ports": (sets("cluster.fabric.radix=2"), ["radix-too-small"]),
    "a link without latency": (sets("cluster.fabric.link=1 Gbit/s"), ["missing-value"]),
    "failures without end": (sets("failures={node: {mtbf: 1 s, repair: 1 h}}"), ["never-finishes"]),
    "failures of nothing": (
        jobs(
            "failures={node: {mtbf: 1 h, repair: 1 h}}",
            "workload.jobs=null",
            "workload.tasks={t: {data: 1 GB, work: 1 TFLOP}}",
            "cluster.nodes.cpu.speed=1 TFLOP/s",
        ),
        ["failures-without-work"],
    ),
    "no horizon": (sets("simulate.until=0 s"), ["out-of-range"]),
    "two unknown names": (sets("scheduler.policy=best", f"{RUN}.model=gpt-99"), ["unknown-name", "unknown-catalog-name"]),
    # job logs
    "a missing log": (log("nope.swf"), ["job-log-missing"]),
    "a log in a file": (log("good.yaml/x.swf"), ["job-log-missing"]),
    "a log that is a folder": (log("folder.swf"), ["job-log-is-a-folder"]),
    "the folder itself": (log("."), ["job-log-is-a-folder"]),
    "a log without name": (log("''"), ["job-log-is-a-folder"]),
    "a log with a name without end": (log("x" * 300 + ".swf"), ["job-log-unreadable"]),
    "an empty log": (log("empty.swf"), ["job-log-empty"]),
    "a log of comments": (log("comments.swf"), ["trace-empty"]),
    "a binary log": (log("binary.swf"), ["trace-binary"]),
    "a ragged log": (log("ragged.swf"), ["trace-unusable"]),
    "a log in words": (log("words.swf"), ["trace-unusable"]),
    "a log of no time": (log("zero.swf"), ["trace-unusable"]),
    "a log of wide jobs": (log("wide.swf"), ["trace-unusable"]),
    "half a log": (log("cut.swf.gz"), ["trace-unreadable"]),
    "a log of unknown kind": (log("log.txt"), ["trace-format-unknown"]),
    "an unknown reader": (jobs("workload.jobs.trace.format=punch-cards"), ["unknown-name"]),
    "jobs on accelerators that are none": (jobs("workload.jobs.unit=accelerator"), ["jobs-without-accelerators"]),
    "jobs on cores that nobody counted": (jobs("cluster.nodes.cpu.cores=null"), ["jobs-without-cores"]),
    "jobs on nodes that are none": (jobs("workload.jobs.nodes=gpu"), ["unknown-node-group"]),
    "jobs wider than the machine": (
        jobs("workload.jobs={synthetic: {jobs: 5, duration: 1 h, max_processors: 33}}"),
        ["synthetic-too-wide"],
    ),
    "a load of less than a job": (jobs("workload.jobs={synthetic: {load: 0.001, duration: 1 s}}"), ["synthetic-load"]),
    "a median above the longest": (
        jobs("workload.jobs={synthetic: {jobs: 9, duration: 9 h, median_run: 5 days}}"),
        ["synthetic-parameter"],
    ),
    "replay of a missing log": (["replay", "nope.swf", "--nodes", "32"], ["trace-missing"]),
    "replay of a folder": (["replay", "folder.swf", "--nodes", "32"], ["trace-is-a-folder"]),
    "replay of an empty log": (["replay", "empty.swf", "--nodes", "32"], ["trace-empty"]),
    "replay of a binary log": (["replay", "binary.swf", "--nodes", "32"], ["trace-binary"]),
    "replay of a ragged log": (["replay", "ragged.swf", "--nodes", "32"], ["trace-unusable"]),
    "replay of words": (["replay", "words.swf", "--nodes", "32"], ["trace-unusable"]),
    "replay of no time": (["replay", "zero.swf", "--nodes", "32"], ["trace-unusable"]),
    "replay of half a log": (["replay", "cut.swf.gz", "--nodes", "32"], ["trace-unreadable"]),
    "replay of a scenario": (["replay", "good.yaml", "--nodes", "32"], ["trace-format-unknown"]),
    "replay of a scenario as a log": (["replay", "good.yaml", "--nodes", "32", "--format-in", "swf"], ["trace-unusable"]),
    "replay by an unknown reader": (["replay", "log.swf", "--nodes", "32", "--format-in", "cards"], ["unknown-name"]),
    "replay on no nodes": (["replay", "log.swf", "--nodes", "0"], ["machine-size"]),
    "replay on less than none": (["replay", "log.swf", "--nodes", "-4"], ["machine-size"]),
    "replay on too many": (["replay", "log.swf", "--nodes", "99999999999999"], ["machine-size"]),
    "replay on a machine too small": (["replay", "log.swf", "--nodes", "1"], ["trace-unusable"]),
    "replay without cores": (["replay", "log.swf", "--nodes", "4", "--cores-per-node", "0"], ["machine-size"]),
    "replay without policy": (["replay", "log.swf", "--nodes", "32", "--policy", ""], ["no-policy"]),
    "replay of commas": (["replay", "log.swf", "--nodes", "32", "--policy", " , "], ["no-policy"]),
    "replay under an unknown policy": (["replay", "log.swf", "--nodes", "32", "--policy", "easy,best"], ["unknown-name"]),
    "replay under one policy twice": (["replay", "log.swf", "--nodes", "32", "--policy", "easy,fcfs,easy"], ["policy-twice"]),
    "replay of no jobs": (["replay", "log.swf", "--nodes", "32", "--max-jobs", "0"], ["trace-option"]),
    # sweeps
    "nothing to vary": (["sweep", "good.yaml"], ["sweep-without-axes"]),
    "an axis without values": (["sweep", "good.yaml", "--axis", "cluster.nodes.gpu.count="], ["bad-axis"]),
    "no axis": (["sweep", "good.yaml", "--axis", "count"], ["bad-axis"]),
    "an open list": (["sweep", "good.yaml", "--axis", "cluster.nodes.gpu.count=[1"], ["bad-axis"]),
    "an axis twice": (["sweep", "good.yaml", "--axis", "name=a", "--axis", "name=b"], ["axis-twice"]),
    "an axis of seeds": (["sweep", "good.yaml", "--axis", "simulate.seed=1,2"], ["axis-of-seeds"]),
    "an axis that leads nowhere": (["sweep", "good.yaml", "--axis", "nodes.gpu=1,2"], ["no-such-path"]),
    "an axis of nonsense": (["sweep", "good.yaml", "--axis", "cluster.nodes.gpu.count=a,-1"], ["not-a-count", "out-of-range"]),
    "no seeds": (["sweep", "good.yaml", "--axis", "name=a", "--seeds", "0"], ["bad-count"]),
    "no processes": (["sweep", "good.yaml", "--axis", "name=a", "--jobs", "0"], ["bad-count"]),
    "a sweep without end": (["sweep", "good.yaml", "--axis", "name=a,b", "--seeds", "9999999"], ["sweep-too-large"]),
    "a range without a step": (["sweep", "good.yaml", "--axis", "cluster.nodes.gpu.count=1..4"], ["open-range"]),
    "a range upside down": (["sweep", "good.yaml", "--axis", "cluster.nodes.gpu.count=4..1:1"], ["bad-range"]),
    "a row of the wrong length": (["sweep", "good.yaml", "--axis", "name,question=[a,b],[c]"], ["paired-axis"]),
    "a shard that is none": (["sweep", "good.yaml", "--axis", "name=a,b", "--shard", "3/2"], ["bad-shard"]),
    "a design of nothing": (["sweep", "good.yaml", "--axis", "name=a,b", "--design", "random", "--points", "0"], ["bad-count"]),
    "an unknown design": (["sweep", "good.yaml", "--axis", "name=a,b", "--design", "tree"], ["bad-arguments"]),
    "nothing to merge": (["sweep", "good.yaml", "--axis", "name=a,b", "--merge", "latin.yaml"], ["not-a-store"]),
    "nothing uncertain": (["sweep", "batch.yaml", "--sensitivity", "tornado"], ["nothing-uncertain"]),
    "no distribution": (
        ["sweep", "good.yaml", "--sensitivity", "tornado", "--set", "uncertain.cluster.site.pue={low: 2, high: 1}"],
        ["uncertain-form"],
    ),
    "no samples": (["sweep", "good.yaml", "--sensitivity", "sobol", "--samples", "0"], ["bad-count"]),
    "an uncertain value that leads nowhere": (
        ["sweep", "good.yaml", "--sensitivity", "tornado", "--mode", "estimate", "--axis", "nodes.gpu=1..2"],
        ["no-such-path"],
    ),
    "one scenario to compare": (["compare", "good.yaml"], ["compare-one"]),
    "a comparison with nothing": (["compare", "good.yaml", "nope.yaml"], ["file-missing"]),
    "a comparison with a wrong one": (["compare", "good.yaml", "--vary", "cluster.nodes.gpu.count=0"], ["out-of-range"]),
    # estimates from options
    "nothing to estimate": (["estimate"], ["argument-missing"] * 5),
    "half an estimate": (["estimate", "--model", "gpt2-xl", "--count", "8"], ["argument-missing"] * 3),
    "a scenario and options": (["estimate", "good.yaml", "--model", "gpt2-xl", "--tokens", "1e9"], ["argument-not-both"] * 2),
    # catalog
    "an unknown kind": (["catalog", "list", "birds"], ["unknown-catalog-kind"]),
    "an unknown entry": (["catalog", "show", "z9"], ["unknown-catalog-name"]),
    "an entry of an unknown kind": (["catalog", "show", "a100-80gb", "--kind", "birds"], ["unknown-catalog-kind"]),
    # where to
    "a file in the way": (["run", "good.yaml", "--out", "good.yaml"], ["not-a-folder"]),
    "a file on the way": (["run", "good.yaml", "--out", "good.yaml/deep/er"], ["not-a-folder"]),
    "a folder that cannot be": (["run", "good.yaml", "--out", "/proc/x"], ["cannot-write"]),
    "no folder": (["run", "good.yaml", "--out", ""], ["no-folder-name"]),
    "a folder that no system has": (["run", "good.yaml", "--out", "a\0b"], ["no-folder-name"]),
    "a file in the way of a sweep": (["sweep", "good.yaml", "--axis", "name=a", "--out", "good.yaml"], ["not-a-folder"]),
    "a file in the way of a replay": (["replay", "log.swf", "--nodes", "32", "--out", "log.swf"], ["not-a-folder"]),
    "a file in the way of an estimate": (["estimate", "good.yaml", "--out", "good.yaml"], ["not-a-folder"]),
    "no folder of an estimate": (["estimate", "good.yaml", "--out", " "], ["no-folder-name"]),
}
for _option, _value, _code in (
    ("--model", "gpt-99", "unknown-catalog-name"),
    ("--accelerator", "z9", "unknown-catalog-name"),
    ("--accelerator", "epyc-7763", "no-node-for-accelerator"),
    ("--count", "0", "out-of-range"),
    ("--count", "-8", "out-of-range"),
    ("--count", "12", "uneven-nodes"),
    ("--count", "8.5", "not-a-count"),
    ("--count", "nan", "not-a-count"),
    ("--count", "1e12", "out-of-range"),
    ("--tokens", "0", "out-of-range"),
    ("--tokens", "-5", "out-of-range"),
    ("--tokens", "much", "not-a-count"),
    ("--global-batch", "0", "out-of-range"),
    ("--sequence", "1e30", "out-of-range"),
    ("--layout", "tp=x", "not-a-count"),
    ("--layout", "fast", "layout-text"),
    ("--layout", "tp=3", "layout-world-size"),
    ("--precision", "fp3", "not-a-choice"),
    ("--link", "string", "unknown-catalog-name"),
    ("--year", "1066", "out-of-range"),
    ("--year", "now", "bad-arguments"),
    ("--set", "x", "bad-setting"),
):
    _options = {
        "--model": "gpt2-xl",
        "--accelerator": "h100-sxm",
        "--count": "16",
        "--global-batch": "64",
        "--sequence": "1024",
        _option: _value,
    }
    CASES[f"estimate with {_option} {_value}"] = (["estimate", *(word for pair in _options.items() for word in pair)], [_code])


def place(files: dict[str, str | bytes], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_is_said_once_and_nothing_is_written(name: str, hpcsim_command: Any, on_disk: Any, tmp_path: Path) -> None:
    argv, codes = CASES[name]
    place(FILES, tmp_path)
    before = on_disk()
    done = hpcsim_command(*argv)
    assert done.codes == codes
    assert done.status == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.replace("\n", "").isprintable()
    assert on_disk() == before


@pytest.mark.parametrize("name", ["an unknown policy", "a model that does not fit", "a binary log", "a ragged log", "failures without end"])
def test_a_new_folder_is_not_left_behind(name: str, hpcsim_command: Any, on_disk: Any, tmp_path: Path) -> None:
    argv, _ = CASES[name]
    place({k: v for k, v in FILES.items() if not k.startswith("out/")}, tmp_path)
    before = on_disk()
    assert hpcsim_command(*(str(Path("a/b/c")) if word == "out" else word for word in argv)).status == 2
    assert on_disk() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write(hpcsim_command: Any, tmp_path: Path) -> None:
    place(FILES, tmp_path)
    (tmp_path / "closed").mkdir(mode=0o500)
    done = hpcsim_command("run", "good.yaml", "--out", "closed/report")
    assert done.codes == ["cannot-write"]
    assert list((tmp_path / "closed").iterdir()) == []


@pytest.mark.parametrize("command", ["run", "estimate", "sweep", "check"])
@pytest.mark.parametrize("name", ["deep.yaml", "anchored.yaml"])
def test_hostile_yaml_ends_in_one_message(command: str, name: str, hpcsim_command: Any, on_disk: Any, tmp_path: Path) -> None:
    place(FILES, tmp_path)
    before = on_disk()
    done = hpcsim_command(command, name)
    assert done.status == 2
    assert len(done.codes) >= 1
    assert "internal" not in done.codes
    assert on_disk() == before


def test_problems_say_where_they_are(hpcsim_command: Any, tmp_path: Path) -> None:
    place(FILES, tmp_path)
    lines = hpcsim_command("run", "many.yaml").err.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["many.yaml:1:1:", "many.yaml:2:1:", "many.yaml:5:45:", "many.yaml:8:28:"]
    assert "did you mean 'name'?" in lines[1]
    done = hpcsim_command("check", "batch.yaml", "--set", "workload.jobs.trace.file=nope.swf")
    assert done.err.startswith("batch.yaml:8:17: workload.jobs.trace.file: ")


def test_check_goes_on_to_the_next_file(hpcsim_command: Any, on_disk: Any, tmp_path: Path) -> None:
    place(FILES, tmp_path)
    before = on_disk()
    done = hpcsim_command("check", "good.yaml", "nope.yaml", "batch.yaml", "twice.yaml", "folder.yaml")
    assert done.status == 2
    assert done.codes == ["file-missing", "duplicate-key", "file-is-a-folder"]
    lines = done.out.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["ok", "1 problem", "ok", "1 problem", "1 problem"]
    assert on_disk() == before
    assert hpcsim_command("check", "good.yaml", "batch.yaml").status == 0


def test_a_sweep_with_one_good_point_is_written(hpcsim_command: Any, tmp_path: Path) -> None:
    place(FILES, tmp_path)
    done = hpcsim_command(
        "sweep", "good.yaml", "--axis", "cluster.nodes.gpu.count=2,0", "--mode", "estimate", "--no-charts", "--out", "fresh"
    )
    assert done.status == 0
    assert "out-of-range" in (tmp_path / "fresh" / "sweep.csv").read_text(encoding="utf-8")


LOGS = {
    "more processors than there are": (row(4, 7, 10, 33), "dropped", "more processors"),
    "no run time": (row(4, 7, 0, 3), "dropped", "zero run time"),
    "unknown run time": (row(4, 7, -1, 3), "dropped", "run time unknown"),
    "too few fields": ("4 7 10\n", "dropped", "18 fields"),
    "too many fields": (row(4, 7, 10, 3).rstrip() + " 5\n", "dropped", "18 fields"),
    "words": (row(4, "noon", 10, 3), "dropped", "no number"),
    "not a number": (row(4, 7, "nan", 3), "dropped", "no number"),
    "no end": (row(4, 7, "inf", 3), "dropped", "out of range"),
    "half a processor": (row(4, 7, 10, 2.5), "dropped", "not whole"),
    "before the start": (row(4, -7, 10, 3), "dropped", "submission time unknown"),
    "no processors": (row(4, 7, 10, 0), "dropped", "no processors"),
    "out of order": (row(4, 1, 10, 3), "repaired", "sorted"),
    "a number twice": (row(3, 7, 10, 3), "repaired", "given twice"),
    "a row twice": (row(3, 6, 5, 2), "dropped", "given twice"),
}


@pytest.mark.parametrize("name", LOGS)
def test_a_bad_row_is_counted_and_the_rest_runs(name: str, hpcsim_command: Any, tmp_path: Path) -> None:
    """The same table of the log's quality from a replay and from a scenario."""
    text, action, issue = LOGS[name]
    place(FILES, tmp_path)
    (tmp_path / "log.swf").write_text(LOG + text, encoding="utf-8")
    assert hpcsim_command("replay", "log.swf", "--nodes", "32", "--out", "one", "--no-charts").status == 0
    assert hpcsim_command("run", "batch.yaml", "--out", "two", "--no-charts").status == 0
    for folder in ("one", "two"):
        lines = (tmp_path / folder / "quality.csv").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 2, lines
        assert action in lines[1]
        assert issue in lines[1]
        assert ",1," in lines[1]
        rows = (tmp_path / folder / "jobs.csv").read_text(encoding="utf-8").splitlines()
        assert len(rows) == 1 + 3 + (action == "repaired")


FITS = re.compile(r"this fits: (\{.*?\})")
NEEDS = re.compile(r"needs (\S+ \S+) on each device, \S+ has (\S+ \S+): (\S+ \S+) too much; most of it is \S.*? \((\S+ \S+)\)")


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ([f"{RUN}.sequence=65536"], 2),
        ([f"{RUN}.model=llama3-8b", f"{RUN}.sequence=8192"], 2),
        ([f"{RUN}.model=llama2-70b", f"{RUN}.sequence=4096"], 4),
        ([f"{RUN}.model=mixtral-8x7b", f"{RUN}.sequence=4096"], 4),
        (["cluster.nodes.gpu.accelerator={base: a100-sxm-80gb, memory: 12 GB}"], 2),
        ([f"{RUN}.model=llama3-70b", f"{RUN}.layout=tp=8,pp=1,micro_batch=1"], 4),
    ],
)
def test_a_model_that_does_not_fit_is_told_what_would(settings: list[str], count: int, hpcsim_command: Any, tmp_path: Path) -> None:
    """By how much it is too large, to rounding; and the layout that is offered is then accepted."""
    place(FILES, tmp_path)
    words = [w for s in [*settings, f"cluster.nodes.gpu.count={count}"] for w in ("--set", s)]
    done = hpcsim_command("check", "good.yaml", *words)
    assert done.codes == ["model-does-not-fit"]
    found = NEEDS.search(done.err)
    assert found
    needs, has, over, most = (parse_quantity(text, "data size") for text in found.groups())
    assert over == pytest.approx(needs - has, rel=0.02, abs=0.02 * needs)
    assert 0 < over < needs
    assert needs / 12 < most < needs
    offered = FITS.search(done.err)
    assert offered, done.err
    again = hpcsim_command("check", "good.yaml", *words, "--set", f"{RUN}.layout={offered[1]}")
    assert again.err == ""
    assert again.status == 0


def test_a_model_that_fits_nowhere_is_told_how_many_devices_hold_it(hpcsim_command: Any, tmp_path: Path) -> None:
    place(FILES, tmp_path)
    base = ["check", "good.yaml", "--set", f"{RUN}.model=gpt3-175b"]
    for layout in ("auto", "tp=8,pp=2"):
        done = hpcsim_command(*base, "--set", f"{RUN}.layout={layout}")
        assert done.status == 2
        found = re.search(r"no layout fits on 16 devices; (\d+) of them would hold it", done.err)
        assert found, done.err
        nodes = int(found[1]) // 8
        assert hpcsim_command(*base, "--set", f"{RUN}.layout=auto", "--set", f"cluster.nodes.gpu.count={nodes}").status == 0
        assert hpcsim_command(*base, "--set", f"{RUN}.layout=auto", "--set", f"cluster.nodes.gpu.count={nodes // 2}").status == 2


def test_every_module_loads_beside_every_other() -> None:
    """Codes of problems are registered once in the whole package, whichever modules a command happens to load."""
    import importlib
    import pkgutil

    import hpcsim
    from hpcsim.base.errors import problem_kinds

    for module in pkgutil.walk_packages(hpcsim.__path__, "hpcsim."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    known = problem_kinds()
    assert {code for _, codes in CASES.values() for code in codes} <= set(known)


def test_an_error_of_hpcsim_itself_is_called_that(hpcsim_command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Status 3, one line; a traceback only for who asks."""
    place(FILES, tmp_path)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr("hpcsim.run.bind.resolve", broken)
    done = hpcsim_command("check", "good.yaml")
    assert (done.status, done.codes, done.out) == (3, ["internal"], "")
    monkeypatch.setenv("HPCSIM_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="odd"):
        hpcsim_command("check", "good.yaml")


def test_an_interrupt_and_a_lack_of_memory_are_said(hpcsim_command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place(FILES, tmp_path)
    raised: Callable[[BaseException], Any] = lambda error: lambda *_, **__: (_ for _ in ()).throw(error)  # noqa: E731
    monkeypatch.setattr("hpcsim.run.simulate.simulate", raised(KeyboardInterrupt()))
    done = hpcsim_command("run", "good.yaml", "--out", "fresh")
    assert done.status == 130
    assert "interrupted" in done.err
    monkeypatch.setattr("hpcsim.run.simulate.simulate", raised(MemoryError()))
    done = hpcsim_command("run", "good.yaml", "--out", "fresh")
    assert (done.status, done.codes) == (2, ["out-of-memory"])
    assert not (tmp_path / "fresh").exists()
