"""What a notebook shows: the tables that carry the answer and a chart, well formed, nothing unescaped."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import hpcsim
from hpcsim.study.sensitivity import sensitivity

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
COUNT = "cluster.nodes.a100.count"


@pytest.fixture(scope="module")
def bloom() -> Any:
    return hpcsim.load(SCENARIOS / "bloom-176b.yaml").vary({"question": "Is 1 < 2 & so on?"})


KINDS: dict[str, tuple[Any, tuple[str, ...], int]] = {
    "run": (hpcsim.estimate, ("wall clock", "where the time goes", "matmul", "where the money goes", "80 % range"), 3),
    "sweep": (lambda s: hpcsim.sweep(s, {COUNT: [24, 48, 96]}, mode="estimate"), (COUNT, "wall clock (days) over"), 1),
    "compare": (lambda s: hpcsim.compare(s, vary=[{COUNT: 96}], mode="estimate"), ("cost", "%)", "by_amount"), 0),
    "tornado": (lambda s: sensitivity(s, "tornado", mode="estimate"), ("swing of wall clock", "assume.step_time"), 1),
    "sobol": (lambda s: sensitivity(s, "sobol", samples=8, mode="estimate"), ("total of wall clock", "assume.step_time"), 1),
    "montecarlo": (lambda s: sensitivity(s, "montecarlo", samples=20, mode="estimate"), ("90 % range",), 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_in_a_notebook(kind: str, bloom: Any) -> None:
    make, words, pictures = KINDS[kind]
    text = make(bloom)._repr_html_()
    root = ET.fromstring(f"<div>{text.replace('<br>', '<br/>')}</div>")
    shown = "".join(root.itertext())
    for word in words:
        assert word in shown
    assert len(root.findall("{http://www.w3.org/2000/svg}svg")) == pictures
    assert len(root.findall("table")) >= 1
    if kind != "compare":
        assert "1 < 2 & so on" in shown


def test_bars_are_as_long_as_their_values(bloom: Any) -> None:
    results = hpcsim.estimate(bloom)
    root = ET.fromstring(f"<div>{results._repr_html_().replace('<br>', '<br/>')}</div>")
    name = "{http://www.w3.org/2000/svg}"
    first = root.findall(f"{name}svg")[0]
    widths = [float(rect.get("width", "nan")) for rect in first.findall(f"{name}rect")]
    seconds = results.breakdown.groupby("term", sort=False)["seconds"].sum().sort_values(ascending=False, kind="stable").head(len(widths))
    assert [w / widths[0] for w in widths] == pytest.approx((seconds / seconds.iloc[0]).tolist(), abs=1e-3)
