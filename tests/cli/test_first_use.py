"""What somebody meets who uses hpcsim for the first time: slips at the keyboard, files in the way, answers to be copied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from hpcsim.cost.software import software

SCENARIO = """\
schema: 1
name: first
question: How long does GPT-2 XL take on two machines?
cluster:
  nodes:
    gpu: {type: dgx-a100-80gb, count: 2}
  fabric: {topology: fat-tree, link: hdr, per_node: 8, radix: 40}
workload:
  training:
    gpt2: {model: gpt2-xl, tokens: 1 G, global_batch: 512, sequence: 1024, layout: auto, framework: megatron-core}
"""
TIMED = "m,n,k,seconds,precision\n" + "".join(f"{n},{n},{n},{2 * n**3 / 2.4e14 + 1e-5},bf16\n" for n in (2048, 4096, 8192, 16384))


def test_slips_are_named_with_what_was_meant(hpcsim_command: Any) -> None:
    for words, said in (
        (("runn", "x.yaml"), "there is no command 'runn'; did you mean run? (see hpcsim --help)"),
        (("run", "x.yaml", "--sed", "3"), "there is no option --sed; did you mean --seed? (see hpcsim run --help)"),
        (("run", "x.yaml", "y.yaml"), "'y.yaml' is one argument too many (see hpcsim run --help)"),
        (("run", "x.yaml", "--zzz=1"), "there is no option --zzz (see hpcsim run --help)"),
    ):
        done = hpcsim_command(*words)
        assert (done.status, done.out, done.err) == (2, "", f"{said} [bad-arguments]\n")
    done = hpcsim_command("run", "x.yaml", "--sed", "3", "--owt", "d")
    assert done.codes == ["bad-arguments", "bad-arguments"]


def test_a_run_in_words_has_all_its_mistakes_listed(hpcsim_command: Any) -> None:
    words = {"--model": "lama", "--accelerator": "h10", "--count": "0", "--global-batch": "-1", "--sequence": "nan", "--tokens": "many"}
    done = hpcsim_command("estimate", *(f"{option}={value}" for option, value in words.items()))
    assert sorted(done.codes) == [
        "not-a-count",
        "not-a-count",
        "out-of-range",
        "out-of-range",
        "unknown-catalog-name",
        "unknown-catalog-name",
    ]
    for name in words:
        assert f"\n{name[2:].replace('-', '_')}: " in f"\n{done.err}"


def test_files_that_are_not_hpcsims_are_left_alone(hpcsim_command: Any, tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(SCENARIO)
    (tmp_path / "timed.csv").write_text(TIMED)
    calibrate = ("calibrate", "timed.csv", "--accelerator", "a100-80gb", "--overlay")
    run = ("run", "first.yaml", "--no-charts", "--quiet", "--trace")
    for words in ((*calibrate, "first.yaml"), (*run, "first.yaml")):
        done = hpcsim_command(*words)
        assert (done.status, done.codes) == (2, ["not-to-overwrite"])
        assert (tmp_path / "first.yaml").read_text() == SCENARIO
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first.yaml", "timed.csv"]
    for words in ((*calibrate, "mine.yaml"), (*run, "trace.json")):  # hpcsim's own are written anew
        assert [hpcsim_command(*words).status for _ in range(2)] == [0, 0]


def test_the_layout_is_said_and_can_be_copied(hpcsim_command: Any, tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(SCENARIO)
    document = json.loads(hpcsim_command("estimate", "first.yaml", "--format", "json").out)
    note = next(text for text in document["notes"] if "the layout is the fastest that fits of" in text)
    words = note.partition("evaluated: ")[2].rstrip(".")
    again = json.loads(hpcsim_command("estimate", "first.yaml", "--format", "json", "--set", f"workload.training.gpt2.layout={words}").out)
    assert again["summary"]["step_time_s"] == document["summary"]["step_time_s"]
    assert {**document["training"][0]} == again["training"][0]

    found = hpcsim_command("search", "first.yaml", "--set", "workload.training.gpt2.layout.schedule=1f1b", "--top", "3")
    line = next(text for text in found.out.splitlines() if text.startswith("In a scenario:  layout: "))
    layout = yaml.safe_load(line.partition("layout: ")[2])
    best = json.loads(
        hpcsim_command("search", "first.yaml", "--set", "workload.training.gpt2.layout.schedule=1f1b", "--top", "1", "--format", "json").out
    )["best"][0]
    assert all(best["layout"][key] == value for key, value in layout.items())
    other = json.loads(
        hpcsim_command(
            "estimate", "first.yaml", "--format", "json", "--set", f"workload.training.gpt2.layout={line.partition('layout: ')[2]}"
        ).out
    )
    assert abs(other["summary"]["step_time_s"] / best["step_time_s"] - 1) < 0.02  # the search walks the schedule
    assert other["summary"]["peak_memory_bytes"] == best["peak_memory_bytes"]


def test_a_search_shows_every_axis_that_a_scenario_would_not_take_by_itself(hpcsim_command: Any, tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(SCENARIO)
    fixed = "workload.training.gpt2.layout={auto: true, tp: 2, zero_stage: 1, sequence_parallel: true, overlap: false, recompute: none}"
    model = "workload.training.gpt2.model=llama3-8b"  # an even number of heads
    out = hpcsim_command("search", "first.yaml", "--top", "2", "--set", fixed, "--set", model).out
    head = next(line for line in out.splitlines() if line.strip().startswith("dp  tp  pp"))
    assert all(name in head for name in ("zero stage", "sequence parallel", "overlap", "energy a step", "USD a step"))
    assert "recompute" not in head


def test_a_framework_that_nobody_knows_is_said(hpcsim_command: Any, tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(SCENARIO)
    known = hpcsim_command("estimate", "first.yaml").out
    typed = hpcsim_command("estimate", "first.yaml", "--set", "workload.training.gpt2.framework=megtron-core").out
    assert "no software that hpcsim was compared with" not in known
    assert "'megtron-core' is no software that hpcsim was compared with" in " ".join(typed.split())


def test_a_layout_that_cannot_be_is_said_with_its_numbers_and_its_measurement(hpcsim_command: Any, tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(SCENARIO)
    bad = {"workload.training.gpt2.layout": {"tp": 1, "pp": 1, "dp": 16, "micro_batch": 64}}
    items = [{"scenario": "first.yaml", "measured": "1 s"}, {"scenario": "first.yaml", "set": bad, "measured": "1 s"}]
    (tmp_path / "steps.yaml").write_text(yaml.safe_dump([*items, {"scenario": "first.yaml", "measured": "0 s"}]))
    done = hpcsim_command("calibrate", "steps.yaml")
    first, second = done.err.splitlines()
    assert "measurement 2: the layout cannot be: batch" in first
    assert "here dp 16·micro_batch 64, global batch 512" in first
    assert second.count("measurement 3: ") == 1


def test_names_of_numbers(hpcsim_command: Any) -> None:
    assert "did you mean mfu_frac?" in hpcsim_command("explain", "mfu").err
    assert "did you mean" not in hpcsim_command("explain", "nonsense").err


def test_software_is_listed_as_it_is_taken(hpcsim_command: Any) -> None:
    """Each row's family, in the years that it names, is what an estimate takes for that framework; and every name stands for its family."""
    text = hpcsim_command("catalog", "list", "software").out
    assert "megatron-core" in text
    assert "--framework NAME" in text
    rows = json.loads(hpcsim_command("catalog", "list", "software", "--format", "json").out)["families"]
    for row in rows:
        years = [int(word) for word in row["years"].split() if word.isdigit()] or [2024]
        for year in years:
            stack = software(row["software"], year)
            assert (bool(stack.fused_attention), float(stack.launch_s)) == (row["fused_attention"], row["launch_s"])
            assert float(stack.dp_overlap_frac) == row["dp_overlap_frac"]
    kinds = {row["kind"]: row["entries"] for row in json.loads(hpcsim_command("catalog", "list", "--format", "json").out)}
    assert kinds["software"] == len({row["software"] for row in rows}) > 5
