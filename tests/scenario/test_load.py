"""Reading sound scenarios: YAML 1.2 scalars, positions, short forms, round trips, digests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hpcsim
from hpcsim.base.errors import InputError, Problem
from hpcsim.scenario.load import Scenario, load, loads
from hpcsim.scenario.workload import LayoutSpec

ROOT = Path(__file__).resolve().parents[2]

SAMPLE = (Path(__file__).parent / "contract.yaml").read_text(encoding="utf-8")
"""The scenario of the public contract."""

SMALL = """\
schema: 1
name: small
question: Does it work?
cluster:
  nodes:
    gpu: {count: 4, accelerator: h100-sxm, per_node: 8}
workload:
  training:
    run: {model: llama3-8b, tokens: 1 G, global_batch: 8}
"""


def training(text: str) -> Scenario:
    return loads(SMALL.replace("global_batch: 8}", f"global_batch: 8, {text}}}"))


def test_the_scenario_of_the_contract() -> None:
    s = loads(SAMPLE)
    assert (s.name, s.cluster.nodes["a100"].count, s.simulate.seed) == ("bloom-176b", 48, 1)
    assert s.cluster.storage["scratch"].capacity == 1e16
    assert s.cluster.site.carbon == pytest.approx(0.057 / 3.6e6, rel=1e-15)
    assert s.cluster.prices["a100"].hourly == pytest.approx(1.8 / 3600, rel=1e-15)
    run = s.workload.training["bloom"]
    assert (run.tokens, run.checkpoint.every, run.checkpoint.to) == (366 * 10**9, 10_800.0, "scratch")
    assert (run.layout.tp, run.layout.pp, run.layout.dp, run.layout.auto) == (4, 12, None, False)
    assert s.failures.node.mtbf == 60_000 * 3600
    assert s.simulate.until == 120 * 86_400
    assert s.sweep == {"cluster.nodes.a100.count": (24, 48, 96)}
    assert s.workload.jobs.trace.file == "night.swf"


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_scenarios_are_sound_and_come_back(path: Path) -> None:
    s = load(path)
    assert s.question.endswith("?")
    assert loads(s.to_yaml()) == s
    assert load(s.data()) == s
    assert load(s.data(defaults=True)).digest() == s.digest()


def test_load_takes_a_path_a_text_path_a_map_and_a_scenario(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(SAMPLE, encoding="utf-8")
    by_path, by_text, by_map = load(file), load(str(file)), load(loads(SAMPLE).data())
    assert by_path == by_text == by_map == load(by_path)
    assert load(by_path) is by_path
    assert by_path.folder == tmp_path
    assert by_map.folder == Path()
    assert hpcsim.load(file) == by_path


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + SAMPLE.replace("\n", "\r\n").encode())
    assert load(file) == loads(SAMPLE)


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    assert loads(SAMPLE, "s.yaml", tmp_path).folder == tmp_path


# YAML 1.2


@pytest.mark.parametrize(
    ("text", "count"), [("4", 4), ("4e0", 4), ("1e3", 1000), ("+4", 4), ("04", 4), ("4.", 4), ("2 k", 2000), ("'4'", 4)]
)
def test_counts_in_yaml(text: str, count: int) -> None:
    assert loads(SMALL.replace("count: 4", f"count: {text}")).cluster.nodes["gpu"].count == count


@pytest.mark.parametrize("word", ["NO", "yes", "on", "Off", "y", "null-ish", "2026-11-22", "0x10", "0o7", "1_000", "1:30", "=", "<<"])
def test_words_stay_text(word: str) -> None:
    assert loads(SMALL.replace("question: Does it work?", f"question: {word}")).question == word


@pytest.mark.parametrize(("word", "value"), [("true", True), ("False", False), ("TRUE", True)])
def test_truth(word: str, value: bool) -> None:
    assert training(f"layout: {{overlap: {word}}}").workload.training["run"].layout.overlap is value


def test_anchors_and_aliases_copy() -> None:
    text = SMALL.replace("gpu: {count", "gpu: &g {count") + "  tasks: {t: {data: 1 GB, work: 1 TFLOP}}\n"
    text = text.replace("per_node: 8}\n", "per_node: 8}\n    more: *g\n")
    s = loads(text)
    assert s.cluster.nodes["more"] == s.cluster.nodes["gpu"]


# Short forms


def test_model_by_name() -> None:
    assert loads(SMALL) == loads(SMALL.replace("model: llama3-8b", "model: {base: llama3-8b}"))


def test_accelerator_by_name() -> None:
    assert loads(SMALL) == loads(SMALL.replace("accelerator: h100-sxm", "accelerator: {base: h100-sxm}"))


def test_price_as_text() -> None:
    short = loads(SMALL.replace("workload:", "  prices: {gpu: 3.6 USD/h}\nworkload:"))
    assert short == loads(SMALL.replace("workload:", "  prices: {gpu: {hourly: 3.6 USD/h}}\nworkload:"))
    assert short.cluster.prices["gpu"].hourly == 0.001


def test_price_forms() -> None:
    owned = "{capex: 30 kUSD, lifetime: 5 years, interest: 5 %, maintenance: 0.03}"
    price = loads(SMALL.replace("workload:", f"  prices: {{gpu: {owned}}}\nworkload:")).cluster.prices["gpu"]
    assert (price.capex, price.interest, price.maintenance) == (30_000, 0.05, 0.03)
    cloud = loads(SMALL.replace("workload:", "  prices: {gpu: {provider: aws, term: spot}}\nworkload:")).cluster.prices["gpu"]
    assert (cloud.provider, cloud.term, cloud.region) == ("aws", "spot", None)


def test_layout_forms() -> None:
    assert loads(SMALL).workload.training["run"].layout == LayoutSpec(auto=True)
    assert training("layout: auto").workload.training["run"].layout == LayoutSpec(auto=True)
    long = training("layout: {tp: 8, pp: 4, micro_batch: 1, zero_stage: 1, recompute: full, overlap: true}")
    assert training("layout: 'tp=8, pp=4,micro_batch=1 ,zero_stage=1,recompute=full,overlap=true'") == long
    kept = training("layout: 'auto=true,tp=8'").workload.training["run"].layout
    assert (kept.auto, kept.tp) == (True, 8)
    assert training("layout: {dp: 2}").workload.training["run"].layout.auto is False


def test_lists_become_tuples() -> None:
    text = SMALL.replace("question:", "notes: [a, b]\nquestion:")
    text = text.replace("workload:", "  fabric: {link: x, topology: fat-tree, down: [16, 2], up: [1, 8]}\nworkload:")
    s = loads(text)
    assert (s.notes, s.cluster.fabric.down, s.cluster.fabric.up, s.cluster.fabric.parallel) == (("a", "b"), (16, 2), (1, 8), None)


# Positions


def test_positions() -> None:
    s = loads(SAMPLE, "s.yaml")
    lines = SAMPLE.splitlines()

    def at(path: str) -> tuple[str, str]:
        problem = s.locate(Problem("code", "message", path=path))
        return problem.file, lines[problem.line - 1][problem.column - 1 :]

    assert at("name") == ("s.yaml", "bloom-176b")
    assert at("cluster.nodes.a100.count")[1].startswith("48}")
    assert at("workload.training.bloom.layout.pp")[1].startswith("12,")
    assert at("sweep.cluster.nodes.a100.count")[1].startswith("[24")
    assert at("sweep.cluster.nodes.a100.count.2")[1].startswith("96]")
    assert at("cluster.nodes.a100.spares")[1].startswith("{type: dgx")  # the nearest that the file has
    assert at("nowhere.at.all")[1] == "schema: 1"
    assert at("")[1] == "schema: 1"


def test_a_problem_keeps_the_place_it_has() -> None:
    found = loads(SAMPLE, "s.yaml").locate(Problem("code", "message", path="name", file="t.yaml", line=9, column=9))
    assert (found.file, found.line, found.column) == ("t.yaml", 9, 9)


def test_a_scenario_from_data_has_no_positions() -> None:
    problem = Problem("code", "message", path="name")
    assert load(loads(SAMPLE).data()).locate(problem) == problem


def test_after_a_variation_a_changed_value_has_no_place_of_its_own() -> None:
    s = loads(SAMPLE, "s.yaml").vary({"cluster.nodes.a100.count": 7, "sweep.cluster.nodes.a100.count": [1, 2]})
    assert SAMPLE.splitlines()[s.locate(Problem("c", "m", path="cluster.nodes.a100.count")).line - 1].strip().startswith("a100:")
    assert s.locate(Problem("c", "m", path="cluster.nodes.a100.type")).column > 5
    marks = {".".join(str(part) for part in path if part is not None) for path in s.source.marks}
    assert "cluster.nodes.a100.count" not in marks
    assert not any(mark.startswith("sweep.cluster") for mark in marks)
    assert "sweep" in marks


# Digests


def test_digest_ignores_order_spelling_and_defaults() -> None:
    one = loads(SMALL)
    reordered = "\n".join(["workload: {training: {run: {tokens: 1e9, global_batch: 8.0, model: {base: llama3-8b}, precision: bf16}}}"])
    reordered += "\nquestion: 'Does it work?'\nname: small\nschema: 1\nscheduler: {policy: fcfs}\n"
    reordered += "cluster: {nodes: {gpu: {per_node: 8, count: '4', accelerator: h100-sxm, spares: 0}}}\n"
    other = loads(reordered)
    assert one == other
    assert one.digest() == other.digest()
    assert hash(one) == hash(other)
    assert len(one.digest()) == 64


@pytest.mark.parametrize("old_new", [("count: 4", "count: 5"), ("small", "smell"), ("1 G", "2 G"), ("Does", "Did"), ("h100", "h200")])
def test_digest_sees_every_change(old_new: tuple[str, str]) -> None:
    assert loads(SMALL.replace(*old_new)).digest() != loads(SMALL).digest()
    assert loads(SMALL.replace(*old_new)) != loads(SMALL)


def test_digest_is_the_same_in_every_process() -> None:
    code = f"from hpcsim.scenario.load import loads; print(loads({SAMPLE!r}).digest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("0", "1")
    }
    assert digests == {loads(SAMPLE).digest()}


def test_equality_with_something_else() -> None:
    assert loads(SMALL) != SMALL
    assert repr(loads(SMALL)) == "<Scenario 'small': Does it work?>"
    with pytest.raises(AttributeError):
        loads(SMALL).colour  # noqa: B018


@pytest.mark.parametrize("value", [None, 5, 1.5, [], b"x", object()], ids=lambda v: type(v).__name__)
def test_load_refuses_what_is_no_scenario(value: object) -> None:
    with pytest.raises(InputError) as caught:
        load(value)  # type: ignore[arg-type]
    assert caught.value.problems[0].code == "not-a-scenario"
