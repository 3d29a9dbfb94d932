import io
import time
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.text import Text

from hpcsim.report import bars
from hpcsim.report.charts import charts
from hpcsim.report.comparison import comparison
from hpcsim.report.intervals import concurrency, means, pack, size_classes
from hpcsim.report.policies import busiest_stretch, by_size, over_time, users
from hpcsim.report.power import power
from hpcsim.report.schedule import MOST_JOBS, gantt, slowdowns, utilisation, waits
from hpcsim.report.sweep import axes_of, metrics_of, sweep_chart, sweep_charts
from hpcsim.report.tasks import tasks
from hpcsim.results.quantities import SUMMARY
from hpcsim.results.tables import TABLES, frame

POLICY_FIGURES = ("mean_wait_s", "median_wait_s", "p95_wait_s", "max_wait_s", "mean_bounded_slowdown", "makespan_s", "utilisation_frac")
KINDS = ("training", "batch", "replay", "sweep", "task")
EXPECTED = {
    "training": ["comparison", "breakdown", "memory", "schedule", "power", "energy", "costs"],
    "batch": ["waits", "schedule", "utilisation", "power", "energy"],
    "replay": ["slowdown", "waits", "slowdown-by-size", "use-and-queue", "fairness", "detail-fcfs", "detail-easy"],
    "sweep": ["sweep-step-time-s", "sweep-mfu-frac", "sweep-cost-usd"],
    "task": ["breakdown", "tasks"],
}


def texts(figure):
    """Return what is written in a figure: (text, box) of every piece that is seen."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert np.asarray(canvas.buffer_rgba())[..., :3].var() > 1.0, "blank"
    renderer = canvas.get_renderer()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for which in (axis.get_major_ticks(), axis.get_minor_ticks()):
                hidden |= {
                    label for tick in which for label in (tick.label1, tick.label2) if not low - slack <= tick.get_loc() <= high + slack
                }
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in hidden]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in found]


def check_legible(chart):
    """Fail on a blank picture and on text that leaves it or runs into other text."""
    assert chart.title
    assert chart.text.endswith(".")
    box = chart.figure.bbox
    written = texts(chart.figure)
    for text, extent in written:
        inside = extent.x0 >= -1 and extent.y0 >= -1 and extent.x1 <= box.width + 1 and extent.y1 <= box.height + 1
        assert inside, f"{chart.name}: {text!r} leaves the picture: {extent} of {box}"
    for (one, a), (other, b) in combinations(written, 2):
        width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert width <= 2 or height <= 2, f"{chart.name}: {one!r} and {other!r} overlap by {width:.0f} × {height:.0f}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_result_has_its_charts_legible_and_not_blank(sample, kind):
    with matplotlib.rc_context():
        found = charts(sample.ALL[kind]())
    assert [chart.name for chart in found] == EXPECTED[kind]
    for chart in found:
        check_legible(chart)


def test_drawing_leaves_the_settings_of_matplotlib_alone(sample):
    before = dict(matplotlib.rcParams)
    for chart in charts(sample.task_results()):
        chart.svg()
    assert dict(matplotlib.rcParams) == before


def test_the_settings_of_the_user_do_not_change_a_chart(sample):
    table = sample.task_results().breakdown
    plain = bars.breakdown(table).svg()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "path", "axes.spines.top": True}):
        assert bars.breakdown(table).svg() == plain


def test_equal_data_give_equal_svg_and_png(sample):
    first, second = (gantt(sample.jobs_table(60)) for _ in range(2))
    assert first.svg() == second.svg()
    assert first.png() == second.png()
    assert float(imread(io.BytesIO(first.png(dpi=60)))[..., :3].var()) > 1e-3


def test_svg_is_well_formed_small_and_without_a_date(sample):
    for chart in charts(sample.batch_results()):
        svg = chart.svg()
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert "<dc:date>" not in svg
        assert len(svg) < 80_000


def test_inline_svg_has_names_of_its_own_and_loads_nothing(sample):
    one, two = (chart.inline_svg() for chart in charts(sample.task_results()))
    assert "http" not in one + two
    names = [set(ElementTree.fromstring(svg).iter()) for svg in (one, two)]
    ids = [{element.get("id") for element in elements} - {None} for elements in names]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert 'role="img"' in one


def test_a_schedule_of_ten_thousand_jobs_is_drawn_in_well_under_a_second(sample):
    jobs = sample.jobs_table(10_000, 1024)
    begin = time.process_time()
    chart = gantt(jobs)
    svg = chart.svg()
    assert time.process_time() - begin < 2.0  # 0.4 s on one core; room for a busy machine
    assert len(svg) < 150_000


def test_more_jobs_than_dots_are_drawn_as_bands(sample):
    count = MOST_JOBS + 1
    start = np.arange(count) * 10.0
    jobs = sample.jobs_table(50)
    big = {name: np.resize(jobs[name].to_numpy(dtype=object), count) for name in jobs.columns} | {"start_s": start, "end_s": start + 100.0}
    chart = gantt(frame("jobs", big))
    assert "too many to draw one by one" in chart.text
    check_legible(chart)


def test_jobs_that_still_run_are_drawn_to_the_horizon_and_queued_ones_not_at_all(sample):
    jobs = sample.jobs_table(12)
    end = jobs["end_s"].to_numpy(float).copy()
    end[3] = np.nan
    start = jobs["start_s"].to_numpy(float).copy()
    start[4] = end[4] = np.nan
    chart = gantt(jobs.assign(start_s=start, end_s=end))
    assert chart.title.startswith("11 jobs")


def test_groups_lie_one_above_the_other(sample):
    jobs = sample.jobs_table(40)
    both = jobs.assign(group=np.where(np.arange(40) % 2, "cpu", "gpu"))
    both["group"] = both["group"].astype("str")
    chart = gantt(both)
    assert {"cpu", "gpu"} <= {text for text, _ in texts(chart.figure)}
    check_legible(chart)


DRAW = {
    "jobs": [gantt, waits],
    "states": [utilisation],
    "power": [power],
    "breakdown": [bars.breakdown],
    "memory": [bars.memory],
    "energy": [bars.energy],
    "costs": [bars.costs],
    "comparison": [comparison],
    "tasks": [tasks],
    "policies": [slowdowns],
}


@pytest.mark.parametrize("name", DRAW)
def test_an_empty_table_gives_a_chart_that_says_so(name):
    table = frame(name, {column.name: [] for column in TABLES[name].columns if not column.optional})
    for draw in DRAW[name]:
        chart = draw(table)
        check_legible(chart)


@pytest.mark.parametrize("value", [0.0, 1e-12, 1e18])
@pytest.mark.parametrize("name", DRAW)
def test_one_row_of_any_size_is_drawn(name, value):
    cells = {"float64": value, "int64": int(min(value, 1e6)), "str": "x"}
    columns = {c.name: [c.values[0] if c.values else cells[c.dtype]] for c in TABLES[name].columns if not c.optional}
    columns |= {"start_s": [0.0], "end_s": [value]} if "start_s" in columns else {}
    for draw in DRAW[name]:
        chart = draw(frame(name, columns))
        check_legible(chart)


TERMS = st.text(st.characters(categories=("Ll", "Lu", "Nd", "Zs", "Po", "Sc")), min_size=1, max_size=40).filter(str.strip)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(TERMS, st.floats(1e-3, 1e9), min_size=1, max_size=14))
@pytest.mark.filterwarnings("ignore:Glyph")
def test_bars_stay_legible_whatever_their_names_and_sizes(parts):
    total = sum(parts.values())
    table = frame(
        "breakdown",
        {"name": "job", "term": list(parts), "seconds": list(parts.values()), "fraction": [value / total for value in parts.values()]},
    )
    chart = bars.breakdown(table)
    check_legible(chart)
    assert ElementTree.fromstring(chart.svg()) is not None


def test_several_jobs_are_stacked_side_by_side():
    rows = [
        (name, term, size)
        for name, scale in (("small", 1.0), ("a very long name of a job", 40.0))
        for term, size in (("compute", 3 * scale), ("wait", scale))
    ]
    table = frame(
        "breakdown",
        {"name": [r[0] for r in rows], "term": [r[1] for r in rows], "seconds": [r[2] for r in rows], "fraction": [0.75, 0.25] * 2},
    )
    chart = bars.breakdown(table)
    check_legible(chart)
    assert "75 %" in {text for text, _ in texts(chart.figure)}


def test_the_titles_say_what_the_data_say(sample):
    by_name = {chart.name: chart.title for chart in charts(sample.training_results())}
    assert by_name["breakdown"].startswith("Matrix products: 58.2 % of 105 s")
    assert by_name["memory"] == "A device needs 62 GB of its 80 GB of memory"
    assert "4.27 times as high" in by_name["comparison"]
    assert "peaks" not in by_name["power"]


def test_the_sweep_knows_its_axes_and_metrics(sample):
    results = sample.sweep_results()
    axes = axes_of(results.sweep, results.provenance)
    assert axes == ["cluster.nodes.a100.count", "cluster.fabric.link"]
    assert axes_of(results.sweep) == axes
    assert metrics_of(results.sweep, axes) == ["step_time_s", "mfu_frac", "cost_usd"]


@pytest.mark.parametrize(
    "values",
    [
        [1],
        [1, 2],
        ["fcfs", "easy", "sjf"],
        [True, False],
        list(range(1, 40)),
        ["a value that is rather long " + str(i) for i in range(7)],
        [1, 1000, 1_000_000],
    ],
)
def test_a_sweep_over_any_values_is_legible(values):
    table = frame(
        "sweep", {"workload.x.y": values, "seed": 1, "wall_clock_s": [100.0 * (i + 1) for i in range(len(values))], "problem": ""}
    )
    check_legible(sweep_chart(table, ["workload.x.y"], "wall_clock_s"))


def test_what_says_the_same_is_drawn_once_and_named():
    table = frame(
        "sweep",
        {"a.b": [1, 2, 4], "makespan_s": [4.0, 2.0, 1.0], "wall_clock_s": [4.0, 2.0, 1.0], "cost_usd": [1.0, 1.5, 2.0], "problem": ""},
    )
    first, second = sweep_charts(table)
    assert (first.name, second.name) == ("sweep-wall-clock-s", "sweep-cost-usd")
    assert "In proportion to it: makespan." in first.text


def test_services_are_drawn_by_what_decides_and_the_rest_is_counted():
    """However many figures move: cost, copies and objectives come first, and axes go by their last parts, whole in the caption."""
    path = "workload.serving.a-service-with-a-rather-long-name.objectives.quantile"
    moving = [key for key in SUMMARY if key.startswith(("p50", "p95", "p99", "mean", "cost", "goodput_frac", "replicas", "due"))]
    data = {key: [1.0, 3.0 + i] for i, key in enumerate(moving)}  # none in proportion to another
    charts = sweep_charts(frame("sweep", {path: [1, 2], "requests": [10, 10], **data, "problem": ""}))
    first = ["cost-usd", "cost-per-request-usd", "replicas", "p95-ttft-s", "p95-tpot-s", "goodput-frac"]
    assert [chart.name for chart in charts][: len(first)] == [f"sweep-{key}" for key in first]
    assert charts[2].figure.axes[0].get_xlabel() == "objectives quantile"
    assert path in charts[2].text
    assert charts[-1].text.endswith(f" {len(moving) - len(charts)} more figures that move are in sweep.csv.")
    assert len(charts) < 10


def test_points_that_failed_are_left_out_of_the_sweep():
    table = frame("sweep", {"a.b": [1, 2, 3], "seed": 1, "wall_clock_s": [3.0, np.nan, 1.0], "problem": ["", "does not fit", ""]})
    (chart,) = sweep_charts(table)
    assert chart.title == "Wall clock falls from 3 s at 1 to 1 s at 3"


INTERVALS = st.lists(st.tuples(st.floats(0, 100), st.floats(0.5, 50), st.integers(1, 9)), min_size=1, max_size=30)


@given(INTERVALS, st.integers(1, 20))
def test_means_keep_the_integral(rows, bins):
    start = np.array([row[0] for row in rows])
    end = start + np.array([row[1] for row in rows])
    values = np.array([float(row[2]) for row in rows])
    edges = np.linspace(start.min(), end.max(), bins + 1)
    binned = means(start, end, values, edges)
    assert np.sum(binned * np.diff(edges)) == pytest.approx(np.sum(values * (end - start)), rel=1e-9)
    assert binned.min() >= -1e-9


@given(INTERVALS)
def test_packed_jobs_never_share_a_row_and_get_all_they_ask_for(rows):
    start = np.array([row[0] for row in rows])
    end = start + np.array([row[1] for row in rows])
    size = np.array([row[2] for row in rows], dtype=np.int64)
    capacity = int(concurrency(start, end, size.astype(float)))
    pieces = pack(start, end, size, capacity)
    assert np.bincount(pieces[:, 0], pieces[:, 2] - pieces[:, 1], len(rows)).tolist() == size.tolist()
    assert pieces[:, 1].min() >= 0
    assert pieces[:, 2].max() <= capacity
    for one, other in combinations(pieces.tolist(), 2):
        rows_shared = min(one[2], other[2]) - max(one[1], other[1])
        time_shared = min(end[one[0]], end[other[0]]) - max(start[one[0]], start[other[0]])
        assert one[0] == other[0] or rows_shared <= 0 or time_shared <= 0


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60))
def test_size_classes_are_few_ordered_and_complete(sizes):
    array = np.array(sizes, dtype=np.int64)
    classes, labels = size_classes(array)
    assert 1 <= len(labels) <= 5
    assert set(classes.tolist()) == set(range(len(labels)))
    for k in range(len(labels) - 1):
        assert array[classes == k].max() < array[classes == k + 1].min()


def test_charts_of_policies_say_what_the_tables_say():
    jobs = frame(
        "jobs",
        {
            "policy": ["a", "a", "b", "b"],
            "job_id": [1, 2, 1, 2],
            "kind": "batch",
            "submit_s": [0.0, 0.0, 0.0, 0.0],
            "start_s": [0.0, 100.0, 0.0, 700.0],
            "end_s": [100.0, 200.0, 100.0, 800.0],
            "wait_s": [0.0, 100.0, 0.0, 700.0],
            "run_s": [100.0] * 4,
            "processors": [1, 8, 1, 8],
            "status": "finished",
            "bounded_slowdown": [1.0, 2.0, 1.0, 8.0],
        },
    )
    chart = by_size(jobs)
    check_legible(chart)
    assert "Under a, jobs on 8 processors are slowed down most (2 times), on 1 least (1)" in chart.title.replace("\u00a0", " ")
    states = frame(
        "states",
        {
            "policy": ["a", "a", "b"],
            "group": "machine",
            "start_s": [0.0, 100.0, 0.0],
            "end_s": [100.0, 800.0, 800.0],
            "busy": [1, 0, 1],
            "idle": [7, 8, 7],
            "down": 0,
            "queued_jobs": [1, 0, 1],
            "queued_processors": [8, 0, 8],
        },
    )
    assert "stays" in over_time(states).title or "equally" in over_time(states).title
    low, high = busiest_stretch(jobs, states, "b")
    assert 0.0 <= low < high <= 800.0
    policies = frame("policies", {"policy": ["a", "b"], **{key: [1.0, 2.0] for key in POLICY_FIGURES}, "jobs": [2, 2]})
    nobody = frame(
        "shares", {key: [] for key in ("kind", "name", "jobs", "processor_frac", "mean_wait_s", "max_wait_s", "mean_bounded_slowdown")}
    )
    assert users(nobody, policies).title == "The log does not tell its users apart"
