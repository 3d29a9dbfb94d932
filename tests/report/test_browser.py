"""The pages in a real browser: no script error, nothing from outside, nothing wider than a phone; sliders and sorting work."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import hpcsim
from hpcsim.report import write_report
from hpcsim.study.sensitivity import sensitivity
from tests.study.planning.small import small

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--virtual-time-budget=30000", "--dump-dom",
)  # fmt: skip
CATCH = "<script>window.faults = []; addEventListener('error', e => faults.push(e.message)); addEventListener('securitypolicyviolation', e => faults.push(e.violatedDirective + ' ' + e.blockedURI));</script>"
LOOK = """
const look = frame => {
  const page = frame.contentDocument, root = page.documentElement, seen = {};
  seen.faults = frame.contentWindow.faults;
  seen.wide = seen.shut = root.scrollWidth - root.clientWidth;
  seen.paper = frame.contentWindow.getComputedStyle(page.body).backgroundColor;
  seen.figures = page.querySelectorAll("figure svg, figure img").length;
  const explore = page.getElementById("explore");
  seen.explore = explore !== null && !explore.hidden;
  if (seen.explore) {
    const read = () => explore.querySelector("dl").textContent, slider = explore.querySelector("input[type=range]");
    seen.middle = read();
    slider.value = slider.max;
    slider.dispatchEvent(new Event("input"));
    seen.moved = read();
    seen.chosen = explore.querySelector("output").textContent;
    seen.dots = explore.querySelectorAll("circle").length;
  }
  const head = page.querySelector("details table.data th.n");
  if (head) {
    head.closest("details").open = true;
    const column = () => [...head.closest("table").tBodies[0].rows].map(r => parseFloat(r.cells[head.cellIndex].textContent.replaceAll(",", "")));
    head.click();
    seen.sorted = column();
    seen.wide = Math.max(seen.wide, root.scrollWidth - root.clientWidth);
  }
  seen.faults = frame.contentWindow.faults;
  document.getElementById("seen-" + frame.id).textContent = JSON.stringify(seen);
};
"""


def looked_at(pages: dict[str, Path], folder: Path, *, width: int, dark: bool = False) -> dict[str, Any]:
    """Open pages, each in a frame of some width, and return what a script sees in each of them."""
    outer = f"<!DOCTYPE html><script>{LOOK}</script>"
    for name, page in pages.items():
        text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{CATCH}", 1)
        frame = (
            f'<iframe id="{name}" width="{width}" height="900" style="border:0" onload="look(this)" srcdoc="{html.escape(text)}"></iframe>'
        )
        outer += f'<pre id="seen-{name}"></pre>{frame}'
    wrapper = folder / "wrapper.html"
    wrapper.write_text(outer, encoding="utf-8")
    more = ["--blink-settings=preferredColorScheme=0"] if dark else []
    argv = [str(BROWSER), *FLAGS, *more, f"--user-data-dir={folder / 'profile'}", f"file://{wrapper}"]
    done = subprocess.run(argv, capture_output=True, timeout=120, check=True)
    found = dict(re.findall(r'<pre id="seen-([\w-]+)">(.*?)</pre>', done.stdout.decode("utf-8", "replace"), re.DOTALL))
    assert [name for name in pages if not found.get(name)] == [], "a page did not load"
    return {name: json.loads(html.unescape(found[name])) for name in pages}


def written(results: Any, folder: Path) -> Path:
    write_report(results, folder, timings=False)
    return folder / "report.html"


@pytest.fixture(scope="module")
def bloom() -> Any:
    return hpcsim.load(SCENARIOS / "bloom-176b.yaml")


KINDS: dict[str, Any] = {
    "run": lambda s: hpcsim.simulate(s),
    "sweep": lambda s: hpcsim.sweep(s, {"cluster.nodes.a100.count": [24, 48, 96], "cluster.site.pue": "lin:1.0..1.4:5"}, mode="estimate"),
    "montecarlo": lambda s: sensitivity(s, "montecarlo", {"cluster.site.pue": "1.1..1.4"}, samples=40, mode="estimate"),
    "plan": lambda s: hpcsim.plan(small()),
    "compare": lambda s: hpcsim.compare(s, vary=[{"cluster.nodes.a100.count": 96}], mode="estimate"),
}


@pytest.fixture(scope="module")
def pages(bloom: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {kind: written(made(bloom), folder / kind) for kind, made in KINDS.items()}


@pytest.fixture(scope="module")
def phones(pages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return looked_at(pages, tmp_path_factory.mktemp("phones"), width=360)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_in_a_browser(kind: str, pages: dict[str, Path], phones: dict[str, Any]) -> None:
    text = pages[kind].read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text)
    phone = phones[kind]
    assert phone["faults"] == []
    assert phone["wide"] <= 0, "the page is wider than a phone"
    assert phone["figures"] >= 2
    assert phone["sorted"] == sorted(phone["sorted"])
    assert phone["explore"] == (kind == "sweep")
    if kind == "sweep":
        assert phone["middle"] != phone["moved"]
        assert phone["chosen"] == "96"
        assert phone["dots"] == 3


def test_a_page_in_the_dark(pages: dict[str, Path], tmp_path: Path) -> None:
    page = {"run": pages["run"]}
    light, dark = (looked_at(page, tmp_path, width=1100, dark=dark)["run"] for dark in (False, True))
    assert light["faults"] == dark["faults"] == []
    assert light["wide"] <= 0
    assert light["paper"] == "rgb(245, 247, 249)"
    assert dark["paper"] == "rgb(20, 24, 29)"


@pytest.mark.parametrize("kind", ["plan", pytest.param("sweep", marks=pytest.mark.slow)])
def test_a_page_on_paper(kind: str, pages: dict[str, Path], tmp_path: Path) -> None:
    """Laid out for print, nothing is wider than a sheet of A4 with its margins, and the browser makes pages of it."""
    page = pages[kind]
    text = page.read_text(encoding="utf-8")
    assert "@media print {" in text
    sheet = tmp_path / "sheet.html"
    sheet.write_text(text.replace("@media print {", "@media all {"), encoding="utf-8")
    seen = looked_at({kind: sheet}, tmp_path, width=718)[kind]
    assert seen["faults"] == []
    assert seen["shut"] <= 0
    pdf = tmp_path / "report.pdf"
    argv = [str(BROWSER), *FLAGS[:7], f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={pdf}", f"file://{page}"]
    subprocess.run(argv, capture_output=True, timeout=120, check=True)
    pages = re.findall(rb"/Type /Page\b(?!s)", pdf.read_bytes())
    assert 1 < len(pages) < 30
