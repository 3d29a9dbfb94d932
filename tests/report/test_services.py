"""The picture of latencies: a line a measure and service, the objectives, and what is said where nothing was answered."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hpcsim.report.services import latencies

QUANTILES = np.linspace(0.01, 0.99, 99)


def _rows(name: str, measure: str, scale: float) -> pd.DataFrame:
    return pd.DataFrame({"name": name, "measure": measure, "quantile_frac": QUANTILES, "time_s": -scale * np.log1p(-QUANTILES)})


def _service(name: str, **changes: float) -> dict[str, object]:
    row: dict[str, object] = {"name": name, "p95_ttft_s": np.nan, "p95_tpot_s": np.nan, "p95_latency_s": np.nan, "late_frac": np.nan}
    return {**row, "ttft_limit_s": np.nan, "tpot_limit_s": np.nan, "deadline_s": np.nan, **changes}


def test_a_line_a_measure_and_one_an_objective() -> None:
    table = pd.concat([_rows("chat", "ttft", 0.1), _rows("chat", "tpot", 0.02), _rows("chat", "latency", 5.0)])
    chart = latencies(table, pd.DataFrame([_service("chat", p95_ttft_s=0.3, p95_tpot_s=0.06, ttft_limit_s=0.5)]))
    axes = chart.figure.axes[0]
    assert len(axes.lines) == 4
    assert [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1] == [0.5]
    assert chart.title == "95 % of the first tokens come within 300 ms, further ones every 60 ms"


def test_services_of_one_pass_are_set_side_by_side() -> None:
    table = pd.concat([_rows("edge", "latency", 0.01), _rows("centre", "latency", 0.03)])
    rows = [_service("edge", p95_latency_s=0.03, late_frac=0.0), _service("centre", p95_latency_s=0.09, late_frac=0.25, deadline_s=0.05)]
    chart = latencies(table, pd.DataFrame(rows))
    assert len(chart.figure.axes[0].lines) == 3
    assert "answers of centre come within 90 ms (25 % past the deadline)" in chart.title


def test_nothing_answered_is_said() -> None:
    empty = pd.DataFrame({"name": [], "measure": [], "quantile_frac": [], "time_s": []})
    assert latencies(empty, pd.DataFrame([_service("chat")])).title == "chat answers nothing"
