import copy
import errno
import importlib.util
import json
import pickle

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.base.units import DIMENSIONS
from hpcsim.results.provenance import fingerprint, provenance
from hpcsim.results.quantities import SUMMARY, brief, quantity, scale, show, show_range
from hpcsim.results.record import Results
from hpcsim.results.store import write_whole
from hpcsim.results.tables import TableMismatch, frame


def results(**changes):
    table = frame("memory", {"name": "m", "term": ["weights", "logits"], "size_bytes": [2e9, 1e9]})
    given = {
        "name": "tiny",
        "question": "How large?",
        "answer": "3 GB.",
        "kind": "estimate",
        "summary": {"events": 3, "wall_s": 0.5, "peak_memory_bytes": 3e9, "step_time_s": float("nan"), "own_key": "text"},
        "ranges": {"peak_memory_bytes": (2.5e9, np.float64(3.5e9))},
        "tables": {"memory": table},
        "notes": ["a note"],
        "provenance": provenance(scenario_sha256="ab", seed=4, catalog=["b", "a", "b"]),
    }
    return Results(**{**given, **changes})


def _content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_summary_is_written_in_the_declared_order_with_units_and_nulls(tmp_path):
    results().write(tmp_path / "out")
    document = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert list(document["summary"]) == ["step_time_s", "peak_memory_bytes", "events", "wall_s", "own_key"]
    assert document["summary"]["step_time_s"] is None
    assert document["units"] == {"step_time_s": "s", "peak_memory_bytes": "B", "events": "", "wall_s": "s", "own_key": ""}
    assert document["ranges"] == {"peak_memory_bytes": [2.5e9, 3.5e9]}
    assert (document["question"], document["answer"], document["notes"]) == ("How large?", "3 GB.", ["a note"])


def test_equal_results_give_equal_bytes_and_no_time_of_writing(tmp_path):
    for name in ("one", "two"):
        results().write(tmp_path / name)
    assert _content(tmp_path / "one") == _content(tmp_path / "two")
    assert "created" not in json.loads((tmp_path / "one" / "provenance.json").read_text())
    assert "created" in provenance(created=True)


def test_without_timings_only_what_the_machine_decides_is_left_out(tmp_path):
    results().write(tmp_path, timings=False)
    document = json.loads((tmp_path / "summary.json").read_text())
    assert "wall_s" not in document["summary"]
    assert document["summary"]["events"] == 3


def test_a_table_is_an_attribute_and_an_unknown_one_says_what_there_is():
    given = results()
    assert given.memory is given.tables["memory"]
    assert "memory" in dir(given)
    with pytest.raises(AttributeError, match="their tables: memory"):
        _ = given.power
    assert copy.deepcopy(given).memory.equals(given.memory)
    assert pickle.loads(pickle.dumps(given)).memory.equals(given.memory)


def test_a_replay_has_its_policies_by_name():
    names = ("mean_wait_s", "median_wait_s", "p95_wait_s", "max_wait_s", "mean_bounded_slowdown", "makespan_s", "utilisation_frac")
    table = frame("policies", {"policy": ["fcfs", "easy"], "jobs": 7, "cpu_s": 0.1} | {name: [2.0, 1.0] for name in names})
    document = results(tables={"policies": table}).document()
    assert list(document["policies"]) == ["fcfs", "easy"]
    assert document["policies"]["easy"]["mean_wait_s"] == 1.0
    assert document["policies"]["easy"]["jobs"] == 7
    assert document["policies"]["easy"]["steady_utilisation_frac"] is None
    assert "cpu_s" not in results(tables={"policies": table}).document(timings=False)["policies"]["easy"]


def test_a_wrong_table_or_range_is_refused():
    with pytest.raises(TableMismatch):
        results(tables={"memory": frame("memory", {"name": "m", "term": "t", "size_bytes": [1.0]}).drop(columns="term")})
    with pytest.raises(TableMismatch, match="belongs to no figure"):
        results(ranges={"cost_usd": (1.0, 2.0)})
    with pytest.raises(TableMismatch, match="upside down"):
        results(ranges={"peak_memory_bytes": (2.0, 1.0)})


def test_text_in_html_is_escaped():
    page = results(question="<script>", answer="a & b")._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page
    assert "3 GB" in page


def test_a_second_writing_removes_what_the_first_left_unless_it_was_changed(tmp_path):
    table = frame("costs", {"item": ["x"], "quantity": 1.0, "unit": "h", "usd": 2.0})
    other = frame("energy", {"component": ["idle"], "energy_j": 5.0})
    results(tables={"costs": table, "energy": other}).write(tmp_path)
    (tmp_path / "mine.txt").write_text("keep")
    (tmp_path / "energy.csv").write_text("my own edit")
    results().write(tmp_path)
    assert sorted(_content(tmp_path)) == ["energy.csv", "memory.csv", "mine.txt", "provenance.json", "summary.json"]


def test_a_manifest_cannot_reach_outside_its_folder(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("x")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "provenance.json").write_text(json.dumps({"files": {"../outside.txt": digest}}))
    results().write(folder)
    assert outside.exists()


def _codes(caught):
    return [problem.code for problem in caught.value.problems]


def test_a_file_in_the_folder_s_place_is_the_user_s_mistake(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(InputError) as caught:
            results().write(folder)
        assert _codes(caught) == ["not-a-folder"]
    assert (tmp_path / "file").read_text() == "x"


def test_a_folder_that_cannot_be_made_is_the_user_s_mistake():
    with pytest.raises(InputError) as caught:
        results().write("/proc/nowhere/out")
    assert _codes(caught) == ["cannot-write"]
    with pytest.raises(InputError) as caught:
        results().write("x" * 5000)
    assert _codes(caught) == ["cannot-write"]


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EIO, "cannot-write"), (errno.EACCES, "cannot-write")])
@pytest.mark.parametrize("when", ["new", "again"])
def test_a_failure_in_the_midst_leaves_everything_as_it_was(tmp_path, number, code, when):
    folder = tmp_path / "deep" / "out"
    if when == "again":
        results(answer="the first").write(folder)
    before = _content(tmp_path)

    def fail(path):
        path.write_bytes(b"half")
        raise OSError(number, "planted", str(path))

    with pytest.raises(InputError) as caught:
        results(answer="the second").write_with({"late.bin": fail}, folder)
    assert _codes(caught) == [code]
    assert _content(tmp_path) == before
    assert list(tmp_path.rglob(".partial*")) == []
    assert (tmp_path / "deep").exists() == (when == "again")


def test_a_failure_while_moving_puts_the_earlier_files_back(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").mkdir()  # a folder where a file is to go
    with pytest.raises(InputError):
        write_whole(tmp_path, {"a": b"new", "sub/c": b"new", "b": b"new"})
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path):
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(InputError, match=r"hpcsim-planner\[parquet\]"):
            results().write(tmp_path / "out", parquet=True)
        assert not (tmp_path / "out").exists()
    else:
        import pandas as pd

        results().write(tmp_path / "out", parquet=True)
        assert pd.read_parquet(tmp_path / "out" / "memory.parquet")["size_bytes"].tolist() == [2e9, 1e9]


def test_provenance_names_versions_seed_and_entries_once_each():
    record = provenance(scenario_sha256="ab", seed=3, catalog=["b", "a", "b"], plugins=["p"], file="x.yaml")
    assert record["catalog"] == ["a", "b"]
    assert (record["seed"], record["scenario_sha256"], record["file"], record["plugins"]) == (3, "ab", "x.yaml", ["p"])
    assert {"hpcsim", "python", "numpy", "pandas", "simpy"} <= set(record)
    assert "seed" not in provenance()


def test_a_fingerprint_depends_on_the_content_alone():
    assert fingerprint({"a": [1, 2], "b": {"c": None}}) == fingerprint({"b": {"c": None}, "a": [1, 2]})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


def test_every_summary_key_has_a_unit_that_is_known():
    for key, what in SUMMARY.items():
        assert what.name == key
        assert what.meaning.endswith(".")
        assert what.dimension in ("fraction", "ratio", "count", "litres") or DIMENSIONS[what.dimension].si == what.unit, key


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("wall_clock_s", 10_109_000.0, "117 days"),
        ("mfu_frac", 1.0, "100 %"),
        ("mfu_frac", 0.0, "0 %"),
        ("cost_usd", 0.0123, "0.0123 USD"),
        ("carbon_kg_co2e", 24_700.0, "24.7 t"),
        ("tokens_per_s", 39_870.4, "39,870 tokens/s"),
        ("jobs_finished", 28_481, "28,481"),
        ("mean_bounded_slowdown", 92.57653973, "92.58"),
        ("water_l", 1500.0, "1,500 L"),
        ("x_bytes_per_s", 5e10, "50 GB/s"),
        ("peak_power_w", float("nan"), "–"),
        ("wall_clock_s", float("inf"), "∞"),
        ("answer", "yes", "yes"),
        ("cost_usd", None, "–"),
    ],
)
def test_values_are_shown_with_their_unit(name, value, text):
    assert show(name, value) == text


def test_headlines_are_brief_and_axes_have_a_unit():
    assert brief("cost_usd", 1_763_000.0) == "1.76 million USD"
    assert brief("cost_usd", 63_305.0) == "63,300 USD"
    assert show_range("wall_clock_s", 9.0 * 86400, 12.0 * 86400) == "9 – 12 days"
    assert show_range("wall_clock_s", 1800.0, 12.0 * 86400) == "30 min – 12 days"
    assert scale("cost_usd", 2e6) == (1e6, "million USD")
    assert scale("wall_clock_s", 7200.0) == (3600.0, "h")
    assert scale("power_w", 0.0) == (1.0, "W")
    assert quantity("something.total_w").dimension == "power"
