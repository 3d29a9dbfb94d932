"""Wrong scenarios: every mistake is found at once, each with its code, its place in the file, and a remedy.

In the texts below ``§`` stands before the character that a problem must point at; it is taken out before reading.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcsim.base.errors import InputError, Problem
from hpcsim.scenario import source
from hpcsim.scenario.load import load, loads

HEAD = "schema: 1\nname: n\nquestion: q?\n"
CLUSTER = "cluster: {nodes: {gpu: {count: 4, accelerator: h100-sxm, per_node: 8}}}\n"
WORK = "workload: {training: {run: {model: llama3-8b, tokens: 1 G, global_batch: 8}}}\n"
GOOD = HEAD + CLUSTER + WORK


def found(function: Callable[[], object]) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        function()
    problems = caught.value.problems
    assert problems
    for problem in problems:
        assert str(problem).isprintable()
        assert "pydantic" not in str(problem).lower()
    return problems


def marked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the text without its marks, and the places where they stood."""
    places = []
    for number, line in enumerate(text.split("\n"), start=1):
        before = 0
        for piece in line.split("§")[:-1]:
            before += len(piece)
            places.append((number, before + 1))
    return text.replace("§", ""), places


def test_the_good_scenario_is_good() -> None:
    assert loads(GOOD).name == "n"


def run(text: str) -> str:
    return HEAD + CLUSTER + f"workload: {{training: {{run: {{model: llama3-8b, tokens: 1 G, global_batch: 8, {text}}}}}}}\n"


def part(text: str) -> str:
    return HEAD + f"cluster: {{nodes: {{gpu: {{count: 4}}}}, {text}}}\n" + WORK


CASES = {
    # wrong types
    "text for a map": (HEAD + "cluster: §big\n" + WORK, "wrong-type"),
    "nothing for a map": (HEAD + "cluster:§\n" + WORK, "wrong-type"),
    "a list for a map": (HEAD + "cluster: {nodes: §[1, 2]}\n" + WORK, "wrong-type"),
    "a number for text": ("schema: 1\nname: n\nquestion: §5\n" + CLUSTER + WORK, "wrong-type"),
    "truth for text": ("schema: 1\nname: n\nquestion: §true\n" + CLUSTER + WORK, "wrong-type"),
    "no question": ("schema: 1\nname: n\nquestion: §''\n" + CLUSTER + WORK, "wrong-type"),
    "text for truth": (run("layout: {overlap: §maybe}"), "wrong-type"),
    "a number for truth": (run("layout: {overlap: §1}"), "wrong-type"),
    "text for a list": (part("fabric: {link: x, down: §big, up: [1]}"), "wrong-type"),
    "a number in a list of text": ("schema: 1\nname: n\nquestion: q\nnotes: [a, §5]\n" + CLUSTER + WORK, "wrong-type"),
    "no node groups": (HEAD + "cluster: {nodes: §{}}\n" + WORK, "wrong-type"),
    "a list for a price": (part("prices: {gpu: §[1]}"), "wrong-type"),
    "a map for a name": (run("layout: §{auto: {a: 1}}").replace("§{auto: {", "{auto: §{"), "wrong-type"),
    # unknown, missing, duplicate keys
    "unknown key at the top": (GOOD + "§sceduler: {policy: easy}\n", "unknown-key"),
    "unknown key inside": (HEAD + "cluster: {nodes: {gpu: {§cuont: 4, count: 4}}}\n" + WORK, "unknown-key"),
    "merge key without a map": (GOOD + "scheduler: {<<: §easy}\n", "yaml-merge"),
    "empty key": (GOOD + "§'': 1\n", "unknown-key"),
    "missing key": (HEAD + "cluster: {nodes: {gpu: §{cores: 4}}}\n" + WORK, "missing-key"),
    "missing key at the top": ("§schema: 1\nname: n\n" + CLUSTER + WORK, "missing-key"),
    "duplicate key": (HEAD + "cluster: {nodes: {gpu: {count: 4, §count: 5}}}\n" + WORK, "duplicate-key"),
    "duplicate section": (GOOD + "§workload: {}\n", "duplicate-key"),
    "duplicate name": (HEAD + "cluster: {nodes: {gpu: {count: 4}, §gpu: {count: 5}}}\n" + WORK, "duplicate-key"),
    # names and choices
    "a name with a blank": (HEAD + "cluster: {nodes: {§a b: {count: 4}}}\n" + WORK, "bad-name"),
    "a name with a dot": (HEAD + "cluster: {nodes: {§a.b: {count: 4}}}\n" + WORK, "bad-name"),
    "a name that climbs": ("schema: 1\nname: §../../x\nquestion: q\n" + CLUSTER + WORK, "bad-name"),
    "a name in another script": ("schema: 1\nname: §größe\nquestion: q\n" + CLUSTER + WORK, "bad-name"),
    "a name without end": (f"schema: 1\nname: §{'a' * 65}\nquestion: q\n" + CLUSTER + WORK, "bad-name"),
    "an unknown choice": (run("precision: §bf61"), "not-a-choice"),
    "an unknown precision": (part("storage: {}").replace("count: 4", "count: 4, accelerator: {peak: {§bf61: 1 TFLOP/s}}"), "not-a-choice"),
    "another version": ("schema: §2\nname: n\nquestion: q\n" + CLUSTER + WORK, "not-a-choice"),
    "a version as text": ("schema: §'1'\nname: n\nquestion: q\n" + CLUSTER + WORK, "not-a-choice"),
    "a version as truth": ("schema: §true\nname: n\nquestion: q\n" + CLUSTER + WORK, "not-a-choice"),
    "a version with a point": ("schema: §1.0\nname: n\nquestion: q\n" + CLUSTER + WORK, "not-a-choice"),
    # numbers
    "a negative count": (HEAD + "cluster: {nodes: {gpu: {count: §-4}}}\n" + WORK, "out-of-range"),
    "no nodes": (HEAD + "cluster: {nodes: {gpu: {count: §0}}}\n" + WORK, "out-of-range"),
    "half a node": (HEAD + "cluster: {nodes: {gpu: {count: §1.5}}}\n" + WORK, "not-a-count"),
    "a count that is none": (HEAD + "cluster: {nodes: {gpu: {count: §many}}}\n" + WORK, "not-a-count"),
    "a count of truth": (HEAD + "cluster: {nodes: {gpu: {count: §true}}}\n" + WORK, "not-a-count"),
    "a count that is not finite": (HEAD + "cluster: {nodes: {gpu: {count: §.nan}}}\n" + WORK, "not-finite"),
    "a count without end": (HEAD + "cluster: {nodes: {gpu: {count: §.inf}}}\n" + WORK, "not-finite"),
    "a huge count": (HEAD + "cluster: {nodes: {gpu: {count: §1e30}}}\n" + WORK, "out-of-range"),
    "a count beyond floats": (HEAD + "cluster: {nodes: {gpu: {count: §1e999}}}\n" + WORK, "not-finite"),
    "a negative size": (part("storage: {s: {type: x, capacity: §-1 TB}}"), "out-of-range"),
    "no size": (part("storage: {s: {type: x, capacity: §0 TB}}"), "out-of-range"),
    "a huge size": (part("storage: {s: {type: x, capacity: §1e300 B}}"), "out-of-range"),
    "a size beyond floats": (part("storage: {s: {type: x, capacity: §1e999 B}}"), "not-finite"),
    "a size that is not finite": (part("storage: {s: {type: x, capacity: §.nan}}"), "not-finite"),
    "a negative time": (run("restart: §-5 s"), "out-of-range"),
    "a PUE below one": (part("site: {pue: §0.9}"), "not-a-fraction"),
    "a PUE that is not finite": (part("site: {pue: §.nan}"), "not-a-fraction"),
    "a negative seed": (GOOD + "simulate: {seed: §-1}\n", "out-of-range"),
    "a seed too large": (GOOD + f"simulate: {{seed: §{2**63}}}\n", "out-of-range"),
    "no year": (run("year: §1066"), "out-of-range"),
    # quantities
    "no unit": (part("storage: {s: {type: x, capacity: §5}}"), "unitless-quantity"),
    "no unit in text": (part("storage: {s: {type: x, capacity: §'5'}}"), "unitless-quantity"),
    "a price without unit": (part("prices: {gpu: §1.8}"), "unitless-quantity"),
    "a rate for a size": (part("storage: {s: {type: x, capacity: §5 GB/s}}"), "wrong-dimension"),
    "a size for a rate": (part("storage: {s: {type: x, read: §5 GB}}"), "wrong-dimension"),
    "work for a rate": (HEAD + "cluster: {nodes: {gpu: {count: 4, accelerator: {peak: {bf16: §3 TFLOP}}}}}\n" + WORK, "wrong-dimension"),
    "an unknown unit": (part("storage: {s: {type: x, capacity: §5 gb}}"), "unknown-unit"),
    "no quantity": (part("storage: {s: {type: x, capacity: §big}}"), "not-a-quantity"),
    "a list for a quantity": (part("storage: {s: {type: x, capacity: §[5 GB]}}"), "not-a-quantity"),
    # keys that belong together
    "an empty workload": (HEAD + CLUSTER + "workload: §{}\n", "empty-workload"),
    "a workload of nothing": (HEAD + CLUSTER + "workload: §{training: {}, jobs: null}\n", "empty-workload"),
    "tokens and steps": (
        HEAD + CLUSTER + "workload: {training: {run: §{model: m, tokens: 1, steps: 1, global_batch: 8}}}\n",
        "exactly-one",
    ),
    "neither tokens nor steps": (HEAD + CLUSTER + "workload: {training: {run: §{model: m, global_batch: 8}}}\n", "exactly-one"),
    "jobs without a source": (HEAD + CLUSTER + "workload: {jobs: §{}}\n", "exactly-one"),
    "jobs with two": (HEAD + CLUSTER + "workload: {jobs: §{trace: {file: f}, synthetic: {jobs: 5, duration: 1 h}}}\n", "exactly-one"),
    "synthetic jobs and load": (HEAD + CLUSTER + "workload: {jobs: {synthetic: §{jobs: 5, load: 0.5, duration: 1 h}}}\n", "exactly-one"),
    "a price of two forms": (part("prices: {gpu: §{hourly: 1 USD/h, provider: aws}}"), "price-form"),
    "a price of no form": (part("prices: {gpu: §{term: spot}}"), "price-form"),
    "a purchase without end": (part("prices: {gpu: §{capex: 1 kUSD}}"), "price-form"),
    "a fat tree without up": (part("fabric: §{link: x, down: [4]}"), "fat-tree-form"),
    "a fat tree of two heights": (part("fabric: §{link: x, down: [4, 2], up: [1]}"), "fat-tree-form"),
    "a fat tree of none": (part("fabric: §{link: x, down: [], up: []}"), "fat-tree-form"),
    "a share of no recomputation": (run("layout: §'tp=2,recompute_frac=0.5'"), "recompute-share"),
    "a share of another recomputation": (run("layout: §{tp: 2, recompute: selective, recompute_frac: 0.5}"), "recompute-share"),
    "a layout that is none": (run("layout: §fast"), "layout-text"),
    "a layout with a hole": (run("layout: §'tp=,pp=2'"), "layout-text"),
    "a layout that repeats": (run("layout: §'tp=2,tp=4'"), "layout-text"),
    "a layout of nothing": (run("layout: §''"), "layout-text"),
    "a task on no nodes": (HEAD + CLUSTER + "workload: {tasks: {t: {data: 1 GB, work: 1 FLOP, nodes: §[]}}}\n", "empty-list"),
    # sweep and published
    "an axis without values": (GOOD + "sweep: {cluster.nodes.gpu.count: §[]}\n", "sweep-axis"),
    "an axis of one value": (GOOD + "sweep: {cluster.nodes.gpu.count: §5}\n", "sweep-axis"),
    "an axis that is no path": (GOOD + "sweep: {§a..b: [1]}\n", "bad-path"),
    "an axis without name": (GOOD + "sweep: {§'': [1]}\n", "bad-path"),
    "an axis with values that are not finite": (GOOD + "sweep: {a: §[1, .nan]}\n", "not-plain-data"),
    "a published figure that is none": (GOOD + "published: {wall_s: {value: §[1], source: s}}\n", "bad-figure"),
    "a published figure that is not finite": (GOOD + "published: {wall_s: {value: §.inf, source: s}}\n", "bad-figure"),
    "a published figure that is truth": (GOOD + "published: {wall_s: {value: §true, source: s}}\n", "bad-figure"),
    # YAML
    "an open bracket": (GOOD + "sweep: {a: [1, 2\n§", "yaml-syntax"),
    "an open quote": (GOOD + 'notes: "abc§', "yaml-syntax"),
    "a tab": (HEAD + "cluster:\n§\tnodes: 1\n", "yaml-syntax"),
    "two colons": (GOOD + "notes: a§: b\n", "yaml-syntax"),
    "two documents": (GOOD + "§---\n" + GOOD, "yaml-syntax"),
    "an unknown alias": (GOOD + "notes: §*nothing\n", "yaml-syntax"),
    "a reserved sign": (GOOD + "notes: §@home\n", "yaml-syntax"),
    "half a surrogate": (GOOD + 'notes: "§\\ud800"\n'.replace("§\\ud800", "\\u§d800"), "yaml-syntax"),
    "a tag of Python": (GOOD + "notes: [§!!python/name:os.system x]\n", "yaml-tag"),
    "a tag of YAML": (HEAD + "cluster: {nodes: {gpu: {count: §!!int '0x10'}}}\n" + WORK, "yaml-tag"),
    "a tag on a map": (HEAD + CLUSTER + "workload: §!!set {training: {r: {model: m, tokens: 1, global_batch: 1}}}\n", "yaml-tag"),
    "a tag on a list": (GOOD + "notes: §!mine [a]\n", "yaml-tag"),
    "a key that is a list": (GOOD + "§[a]: 1\n", "bad-key"),
    "a key that is a map": (GOOD + "? §{a: 1}\n: 1\n", "bad-key"),
    "a root that is a list": ("§- a\n- b\n", "not-a-map"),
    "a root that is text": ("§hello\n", "not-a-map"),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_one_mistake_is_found_at_its_place(case: str) -> None:
    text, code = CASES[case]
    text, places = marked(text)
    assert len(places) == 1
    problems = found(lambda: loads(text, "s.yaml"))
    matching = [p for p in problems if p.code == code]
    assert len(matching) == 1, problems
    # a value that could not be read may be missed elsewhere as well, but nothing else is reported
    assert {p.code for p in problems} - {code} <= {"not-a-count", "out-of-range"} if code in ("yaml-tag",) else len(problems) == 1, problems
    assert (matching[0].file, matching[0].line, matching[0].column) == ("s.yaml", *places[0])
    assert str(matching[0]).startswith(f"s.yaml:{places[0][0]}:{places[0][1]}: ")


def test_one_mistake_without_a_file_has_its_path() -> None:
    data = loads(GOOD).data()
    data["cluster"]["nodes"]["gpu"]["count"] = -4
    data["cluster"]["prices"] = {"gpu": {"capex": "1 kUSD"}}
    assert [(p.path, p.code) for p in found(lambda: load(data))] == [
        ("cluster.nodes.gpu.count", "out-of-range"),
        ("cluster.prices.gpu", "price-form"),
    ]


ALL_AT_ONCE = """\
schema: §2
name: §a b
question: §''
colour: red
cluster:
  nodes:
    gpu: {count: §-4, §cuont: 4, memory: §80}
    cpu: §{cores: §0}
  fabric: §{link: x, latency: §5 GB, down: [4]}
  storage: {s: {type: lustre, read: §5 GB, §read: 6 GB/s}}
  prices: {gpu: §{hourly: §2 EUR/h, provider: aws}}
workload:
  training:
    run: §{model: m, tokens: §1.5, steps: 3, global_batch: 8, precision: §bf61, layout: §'tp=2,tp=4'}
  jobs: §{synthetic: §{duration: §1}, trace: {file: a}}
  tasks: {t: {data: 1 GB, work: §1 W, nodes: §[]}}
scheduler: {policy: easy, order: §never}
sweep: {cluster.nodes.gpu.count: §[], §a..b: [1]}
published: {wall_s: {value: §.nan, source: §5}}
""".replace("colour", "§colour")


def test_every_mistake_is_found_at_once_in_reading_order() -> None:
    text, places = marked(ALL_AT_ONCE)
    problems = found(lambda: loads(text, "s.yaml"))
    assert sorted({(p.line, p.column) for p in problems}) == sorted(set(places))
    assert len(problems) == len(places)
    assert [(p.line, p.column) for p in problems] == sorted((p.line, p.column) for p in problems)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        (GOOD + "sceduler: {}\n", "did you mean 'scheduler'?"),
        (GOOD + "simulat: {}\n", "did you mean 'simulate'?"),
        (HEAD + "cluster: {nodes: {gpu: {count: 1, pernode: 4}}}\n" + WORK, "did you mean 'per_node'?"),
        (run("globalbatch: 4"), "did you mean 'global_batch'?"),
        (run("layout: {micro_batches: 4}"), "did you mean 'micro_batch'?"),
        (run("precision: b16"), "did you mean 'bf16'?"),
        (GOOD + "scheduler: {order: evnt}\n", "did you mean 'event'?"),
        (part("storage: {s: {type: x, capacity: 5 gb}}"), "did you mean 'GB'"),
        ("schema: '1'\nname: n\nquestion: q\n" + CLUSTER + WORK, "write it without quotes"),
    ],
)
def test_did_you_mean(wrong: str, meant: str) -> None:
    (problem,) = found(lambda: loads(wrong))
    assert problem.hint.startswith(meant)


def test_an_unknown_key_far_from_all_lists_what_is_known() -> None:
    (problem,) = found(lambda: loads(GOOD + "zzz: 1\n"))
    assert problem.hint.startswith("known here: schema, name, question")


def test_the_first_of_two_keys_is_named() -> None:
    (problem,) = found(lambda: loads(HEAD + CLUSTER + "name: again\n" + WORK))
    assert "line 2" in problem.hint


# Files


def file_problem(path: Path | str) -> Problem:
    (problem,) = found(lambda: load(path))
    assert problem.file == str(path)
    return problem


def test_a_missing_file(tmp_path: Path) -> None:
    assert file_problem(tmp_path / "nothing.yaml").code == "file-missing"
    (tmp_path / "other.yaml").write_text(GOOD)
    assert "other.yaml" in file_problem(tmp_path / "nothing.yaml").hint
    assert file_problem(tmp_path / "no" / "folder.yaml").code == "file-missing"
    assert file_problem(tmp_path / "other.yaml" / "x.yaml").code == "file-missing"


def test_a_folder(tmp_path: Path) -> None:
    assert file_problem(tmp_path).code == "file-is-a-folder"


@pytest.mark.parametrize("content", [b"", b"  \n\n", b"# only a comment\n", b"\xef\xbb\xbf", b"\n# a\n\n# b"])
def test_an_empty_file(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(content)
    assert file_problem(file).code == "file-empty"


@pytest.mark.parametrize(
    "content",
    [b"\x1f\x8b\x08\x00abc", b"\x89PNG\r\n\x1a\n", b"name: \xff\xfe", b"name: a\0b", "name: x".encode("utf-16"), bytes(range(256))],
)
def test_a_binary_file(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(content)
    assert file_problem(file).code == "file-not-text"


def test_a_control_character(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_bytes(b"name: \x07\n")
    assert file_problem(file).code == "yaml-syntax"


def test_a_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_MOST_BYTES", len(GOOD))
    file = tmp_path / "s.yaml"
    file.write_text(GOOD)
    assert load(file).name == "n"
    file.write_text(GOOD + "#")
    assert file_problem(file).code == "file-too-large"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs an endless device")
def test_an_endless_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_MOST_BYTES", 1000)
    assert file_problem("/dev/zero").code == "file-too-large"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(GOOD)
    file.chmod(0)
    try:
        assert file_problem(file).code == "file-unreadable"
    finally:
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)


@pytest.mark.parametrize("name", ["\0", "a" * 5000])
def test_a_path_that_no_system_takes(name: str) -> None:
    (problem,) = found(lambda: load(name))
    assert problem.code == "file-unreadable"


# Text that would exhaust the machine


@pytest.mark.parametrize("depth", [61, 1000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}"), ("- ", "")])
def test_deep_nesting_is_refused(opening: str, closing: str, depth: int) -> None:
    (problem,) = found(lambda: loads("notes:\n " + opening * depth + "1" + closing * depth))
    assert problem.code == "yaml-recursion"


def test_deep_indentation_is_refused() -> None:
    text = "\n".join(" " * i + "a:" for i in range(1500))
    (problem,) = found(lambda: loads(text))
    assert problem.code == "yaml-recursion"


def test_an_alias_inside_itself_is_refused() -> None:
    assert found(lambda: loads("a: &x [*x]"))[0].code == "yaml-recursion"


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert found(lambda: loads("\n".join(lines)))[0].code == "yaml-recursion"


def test_a_number_without_end_is_refused() -> None:
    problems = found(lambda: loads(HEAD + f"cluster: {{nodes: {{gpu: {{count: {'9' * 5000}}}}}}}\n" + WORK))
    assert problems[0].code == "bad-number"
    assert all(len(str(p)) < 500 for p in problems)


def test_a_value_without_end_is_shown_shortened() -> None:
    for text in (run(f"restart: {'x' * 10**6}"), run(f"precision: {'x' * 10**6}"), HEAD + CLUSTER + f"{'x' * 5000}: 1\n" + WORK):
        assert all(len(str(p)) < 700 for p in found(lambda text=text: loads(text)))


# Data that no file could hold


def test_data_with_keys_that_are_no_text() -> None:
    for key in (5, None, (1, 2), True):
        data = loads(GOOD).data()
        data["cluster"][key] = 1
        assert found(lambda data=data: load(data))[0].code == "wrong-type"
        data = loads(GOOD).data()
        data["cluster"]["nodes"] = {key: {"count": 1}}
        assert found(lambda data=data: load(data))[0].code == "wrong-type"


def test_data_that_holds_itself() -> None:
    data = loads(GOOD).data()
    data["cluster"]["nodes"]["gpu"]["accelerator"] = data
    assert found(lambda: load(data))[0].code == "not-plain-data"


@pytest.mark.parametrize("value", [object(), b"x", {1, 2}, 1j, 10**5000, math.nan, lambda: 1], ids=lambda v: type(v).__name__)
def test_data_of_foreign_kinds(value: object) -> None:
    for change in ("cluster.nodes.gpu.count", "question", "sweep.a", "workload.training.run.restart", "workload.training.run.model"):
        problems = found(lambda change=change: loads(GOOD).vary({change: value}))
        assert all(p.path.startswith(change) for p in problems)
