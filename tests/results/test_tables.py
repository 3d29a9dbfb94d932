import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcsim.results.record import Results
from hpcsim.results.tables import TABLES, Column, TableMismatch, frame, markdown, mismatches, read_csv

ROOT = Path(__file__).resolve().parents[2]
DECLARED = [table for table in TABLES.values() if not table.free]
WORDS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\0"), max_size=12)


def _cells(column: Column):
    if column.dtype == "str":
        cells = st.sampled_from(column.values) if column.values else WORDS
    elif column.dtype == "int64":
        cells = st.integers(-(2**63), 2**63 - 1)
    elif column.dtype == "float64":
        cells = st.floats(allow_nan=False)
    else:
        cells = st.booleans()
    return st.none() | cells if column.nullable else cells


@st.composite
def tables(draw):
    table = draw(st.sampled_from(DECLARED))
    rows = draw(st.integers(0, 5))
    optional = draw(st.booleans())
    columns = {c.name: draw(st.lists(_cells(c), min_size=rows, max_size=rows)) for c in table.columns if optional or not c.optional}
    return table.name, columns


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_a_table_is_what_was_put_in_and_comes_back_from_csv(named):
    name, columns = named
    built = frame(name, columns)
    assert mismatches(name, built) == []
    for key, values in columns.items():
        for given_value, kept in zip(values, built[key].astype(object)):
            missing = given_value is None or (given_value == "" and TABLES[name].column(key).nullable)
            assert pd.isna(kept) if missing else kept == given_value
    with tempfile.TemporaryDirectory() as folder:
        Results("x", "q", "a", "simulate", {}, tables={name: built}).write(folder)
        back = read_csv(Path(folder) / f"{name}.csv", name)
    pd.testing.assert_frame_equal(back, built, check_exact=True)


def test_floats_are_written_shortest_and_exactly(tmp_path):
    values = [0.1, 1 / 3, 1e300, 5e-324, -0.0, 123456789.123456789, math.pi]
    table = frame("memory", {"name": "m", "term": "t", "size_bytes": values})
    Results("x", "q", "a", "simulate", {}, tables={"memory": table}).write(tmp_path)
    raw = (tmp_path / "memory.csv").read_bytes()
    assert b"\r" not in raw
    assert [line.split(",")[2] for line in raw.decode().splitlines()[1:]] == [repr(value) for value in values]


def test_columns_stand_in_the_declared_order_whatever_order_they_come_in():
    built = frame("memory", {"size_bytes": [1.0], "term": ["t"], "name": ["n"]})
    assert list(built.columns) == ["name", "term", "size_bytes"]


def test_a_scalar_holds_for_every_row_and_a_nullable_column_may_be_left_out():
    built = frame("costs", {"item": ["a", "b"], "quantity": 2.0, "unit": "h", "usd": [1, 2]})
    assert built["quantity"].tolist() == [2.0, 2.0]
    assert built["group"].isna().all()
    assert built["usd"].dtype == "float64"


def test_an_empty_table_has_its_columns_and_types():
    empty = {key.name: [] for key in TABLES["states"].columns if not key.optional}
    built = frame("states", empty)
    assert len(built) == 0
    assert built["busy"].dtype == "int64"
    assert built["start_s"].dtype == "float64"


GOOD = {"name": ["a", "b"], "term": ["x", "y"], "size_bytes": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"surplus": [1, 2]}, "surplus column surplus"),
        ({"term": None}, "missing column term"),
        ({"size_bytes": [1.0, math.nan]}, "1 null values"),
        ({"size_bytes": ["1", "2"]}, "where float64 is declared"),
        ({"size_bytes": [True, False]}, "where float64 is declared"),
        ({"term": [1, 2]}, "not all text"),
        ({"term": ["x"]}, "different lengths"),
        ({"term": [["x"], ["y"]]}, "not all text"),
        ({"size_bytes": np.ones((2, 2))}, "one dimension"),
    ],
)
def test_what_differs_from_the_declaration_is_refused(change, complaint):
    columns = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(TableMismatch, match=complaint):
        frame("memory", columns)


def test_whole_numbers_only_where_they_are_declared():
    states = {"group": "g", "start_s": 0.0, "end_s": 1.0, "busy": [1.0], "idle": 0, "down": 0, "queued_jobs": 0, "queued_processors": 0}
    assert frame("states", states)["busy"].tolist() == [1]
    with pytest.raises(TableMismatch, match="busy: not all whole"):
        frame("states", {**states, "busy": [1.5]})


def test_words_outside_the_declared_ones_and_unknown_tables_are_refused():
    with pytest.raises(TableMismatch, match="'warmth' is none of compute"):
        frame("energy", {"component": ["warmth"], "energy_j": [1.0]})
    with pytest.raises(TableMismatch, match="no result table 'nothing'"):
        frame("nothing", {})


def test_all_mistakes_are_told_at_once():
    with pytest.raises(TableMismatch) as caught:
        frame("memory", {"name": ["a"], "size_bytes": ["x"], "other": [1]})
    assert all(word in str(caught.value) for word in ("other", "term", "size_bytes"))


def test_a_table_changed_after_it_was_built_is_noticed():
    built = frame("memory", GOOD)
    assert mismatches("memory", built[["term", "name", "size_bytes"]])
    assert mismatches("memory", built.assign(size_bytes=["a", "b"]))
    assert mismatches("memory", built.assign(size_bytes=[1.0, np.nan]))
    assert mismatches("memory", built.drop(columns="term"))


def test_a_sweep_may_have_any_columns():
    built = frame("sweep", {"cluster.nodes.a.count": [1, 2], "seed": 1, "problem": ""})
    assert list(built.columns) == ["cluster.nodes.a.count", "seed", "problem"]
    assert mismatches("sweep", built) == []


def test_every_column_has_a_meaning_a_type_and_a_unit_that_its_suffix_promises():
    suffixes = {
        "_s": "s",
        "_bytes_per_s": "B/s",
        "_per_s": "1/s",
        "_bytes": "B",
        "_w": "W",
        "_j": "J",
        "_usd": "USD",
        "_kg_co2e": "kg",
        "_frac": "1",
        "tokens_per_s": "tokens/s",
    }
    for table in TABLES.values():
        assert table.meaning.endswith(".")
        names = [column.name for column in table.columns]
        assert len(names) == len(set(names))
        for column in table.columns:
            assert column.meaning.endswith((".", ")")), (table.name, column.name)
            assert column.dtype in ("float64", "int64", "str", "bool")
            promised = next(
                (unit for suffix, unit in sorted(suffixes.items(), key=lambda s: -len(s[0])) if f"_{column.name}".endswith(suffix)), None
            )
            if promised and column.dtype == "float64":
                assert column.unit == promised, (table.name, column.name)


def test_the_reference_page_is_up_to_date():
    path = ROOT / "docs" / "reference" / "tables.md"
    assert path.read_text("utf-8") == markdown(), f"write hpcsim.results.tables.markdown() to {path}"
