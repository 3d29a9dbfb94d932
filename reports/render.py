"""Render the reports of the reference scenarios: ``python reports/render.py`` (all of them), or with names of scenarios.

Of each run the page, the summary and two charts are kept here; ``hpcsim run`` writes the tables beside them, which are not kept.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from hpcsim.report.write import write_report
from hpcsim.run.simulate import simulate
from hpcsim.scenario.load import load
from hpcsim.study.planning.plan import plan
from hpcsim.study.sensitivity import sensitivity
from hpcsim.study.sweep import sweep

ROOT = Path(__file__).resolve().parent.parent
PLANS = ("plan-front-train-llama", "plan-front-train-xray", "plan-cash")
CHARTS = (
    *PLANS,
    "comparison",
    "tasks",
    "pipelines",
    "sweep-wall-clock-s",
    "sweep-cost-usd",
    "spread-cost-usd",
    "breakdown",
    "utilisation",
    "schedule",
    "power",
)
SWEEPS = ("node-count-sweep", "night-and-day")
UNCERTAIN = ("cost-at-risk",)


def render(name: str) -> None:
    """Run one scenario and keep its page, its summary and the two charts that carry it."""
    path = ROOT / "scenarios" / f"{name}.yaml"
    if name in UNCERTAIN:
        results = sensitivity(path, "montecarlo", mode="estimate")
    elif load(path).plan:
        results = plan(path)
    else:
        results = sweep(path) if name in SWEEPS else simulate(path)
    target = ROOT / "reports" / name
    with tempfile.TemporaryDirectory() as folder:
        written = write_report(results, folder, timings=False)
        charts = {p.stem: p for p in written if p.parent.name == "charts"}
        wanted = [charts[stem] for stem in CHARTS if stem in charts] + list(charts.values())
        keep = [Path(folder) / "report.html", Path(folder) / "summary.json", *dict.fromkeys(wanted[:2])]
        shutil.rmtree(target, ignore_errors=True)
        for file in keep:
            place = target / file.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    size = sum(p.stat().st_size for p in target.rglob("*") if p.is_file())
    sys.stdout.write(f"{name}: {results.answer} ({size // 1024} kB)\n")


if __name__ == "__main__":
    for scenario in sys.argv[1:] or sorted(p.stem for p in (ROOT / "scenarios").glob("*.yaml")):
        render(scenario)
