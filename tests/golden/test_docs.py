"""The pages are right: their code runs, their links lead somewhere, their figures are what hpcsim computes.

Where a change moves figures on purpose, ``python tests/golden/refresh_docs.py`` writes the blocks that are marked ``measured``, the values of
constants and the published figures' comparison anew; read what it changed, and the sentences around it.
"""

from __future__ import annotations

import ast
import importlib
import re
import shutil
from functools import cache
from pathlib import Path

import pytest

from hpcsim.base.errors import problem_kinds
from hpcsim.results.quantities import show
from hpcsim.run.simulate import simulate
from hpcsim.scenario.load import load
from tests.golden.doc_blocks import blocks, prose, run_python, run_sh, run_yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MODELS = sorted((DOCS / "models").glob("*.md"))
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md")])
RUN = [page for page in PAGES if page.is_relative_to(DOCS) and page.name != "plugins.md" and blocks(page)]
"""Pages whose blocks are run here; those of the README and of plugins.md have tests of their own."""
NOT_RUN = {"text", "toml", "csv", "json"}
PARTS = ("Scope", "Limitations", "Formulas", "Parameters", "Validation", "References")
EVERY_PAGE = {"Scope", "Limitations", "Validation", "References"}
WHOLE = {"accounting", "cluster", "laws", "scheduling", "training", "workload"}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the scenarios, where the blocks of a page are run."""
    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", RUN, ids=name)
def test_blocks_run(page: Path, workplace: None, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks(page):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            run_python(block, names, name(page))
        elif block.language == "yaml":
            run_yaml(block, name(page))
        elif block.language == "sh":
            run_sh(block)
        else:
            assert block.language in NOT_RUN, f"{name(page)}:{block.line}: what is {block.language!r}?"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)", prose(page)):
        if "://" in target:
            continue
        place, _, anchor = target.partition("#")
        found = (page.parent / place) if place else page
        assert found.exists(), f"{name(page)}: {target}"
        assert not anchor or anchor in anchors(found), f"{name(page)}: {target}"


def test_the_index_names_every_page() -> None:
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page.parent.name != "changes"]
    assert [page for page in pages if page != "README.md" and f"]({page})" not in text] == []


def test_there_is_a_page_for_each_model() -> None:
    assert {page.stem for page in MODELS} >= WHOLE


@pytest.mark.parametrize("page", MODELS, ids=name)
def test_model_pages_open_with_scope_and_limits(page: Path) -> None:
    titles = re.findall(r"^## (.+)$", prose(page), re.MULTILINE)
    found = [title for title in titles if title in PARTS]
    assert found == sorted(found, key=PARTS.index)
    assert titles[:2] == ["Scope", "Limitations"]
    assert set(found) >= (set(PARTS) if page.stem in WHOLE else EVERY_PAGE)
    assert page.stem not in WHOLE or ">>>" in page.read_text(encoding="utf-8"), "worked numbers, so that the page is a test"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_tests_and_files_that_a_page_names_exist(page: Path) -> None:
    for path in re.findall(r"`((?:tests|hpcsim|scenarios|benchmarks)/[\w./-]+)`", prose(page)):
        assert (ROOT / path).exists(), f"{name(page)}: {path}"


def test_problem_codes_that_a_page_names_exist() -> None:
    import hpcsim.testing.reference as reference

    reference.problems()  # registers every kind
    for page in MODELS:
        for code in re.findall(r"\[`([a-z-]+)`\]\(\.\./reference/problems\.md\)", prose(page)):
            assert code in problem_kinds(), f"{name(page)}: {code}"


def attribute(path: str) -> object:
    """What a dotted path names, the longest module first."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(path)


@pytest.mark.parametrize("page", MODELS, ids=name)
def test_constants_have_the_values_that_a_page_gives(page: Path) -> None:
    for path, value in re.findall(r"^\| `(hpcsim(?:\.\w+)+)` \| ([^|]+) \|", prose(page), re.MULTILINE):
        assert attribute(path) == ast.literal_eval(value.strip()), f"{name(page)}: {path}"


Row = tuple[str, str, str, str]


def comparisons(page: Path) -> dict[tuple[str, str], Row]:
    """Rows of a page's tables of published beside predicted figures: (published, predicted, ratio, as written)."""
    found = {}
    for line in prose(page).splitlines():
        match = re.match(r"\| `([\w-]+)` \| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([\d.]+) \|", line)
        if match:
            found[match[1], match[2]] = (match[3].strip(), match[4].strip(), match[5], line)
    return found


@cache
def compared(scenario: str) -> dict[str, Row]:
    """What a scenario's comparison says, written as a page writes it."""
    table = simulate(ROOT / "scenarios" / f"{scenario}.yaml").tables["comparison"]
    rows: dict[str, Row] = {}
    for metric, published, predicted, ratio in table[["metric", "published", "predicted", "ratio"]].itertuples(index=False):
        cells = (show(metric, published), show(metric, predicted), f"{ratio:.2f}")
        rows[metric] = (*cells, f"| `{scenario}` | `{metric}` | {' | '.join(cells)} |")
    return rows


WITH_PUBLISHED = sorted(path.stem for path in (ROOT / "scenarios").glob("*.yaml") if load(path).published)


@pytest.mark.parametrize("scenario", WITH_PUBLISHED)
def test_published_figures_stand_beside_the_predicted_ones(scenario: str) -> None:
    written = {metric: row for page in MODELS for (which, metric), row in comparisons(page).items() if which == scenario}
    assert {metric: row[:3] for metric, row in written.items()} == {metric: row[:3] for metric, row in compared(scenario).items()}, (
        "\n".join(["the pages should say:", *(row[3] for row in compared(scenario).values())])
    )
