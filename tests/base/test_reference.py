"""The reference pages say what the code says; ``python -m hpcsim.testing.reference`` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcsim.base import units
from hpcsim.base.errors import problem_kinds
from hpcsim.testing import reference

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOLDER = DOCS / "reference"


@pytest.mark.parametrize("name", reference.PAGES)
def test_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == reference.page(name), "run: python -m hpcsim.testing.reference"


def test_writing_pages(tmp_path: Path) -> None:
    paths = reference.write(tmp_path / "new" / "folder")
    assert [p.name for p in paths] == list(reference.PAGES)
    assert all(p.read_text(encoding="utf-8").endswith("\n") for p in paths)


def test_every_problem_is_on_its_page() -> None:
    page = reference.page("problems.md")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(problem_kinds())
    assert all(f"| `{code}` |" in page for code in problem_kinds())
    codes = [row.split("`")[1] for row in rows]
    assert codes == sorted(problem_kinds())
    assert all(row.replace("\\|", "").count("|") == 4 for row in rows)


def test_every_unit_prefix_and_dimension_is_on_its_page() -> None:
    page = units.markdown()
    for row in units._ROWS:
        for name in row.names.split():
            assert f"`{name}`" in page
    for dimension in units.DIMENSIONS.values():
        assert f"| {dimension.name} | {dimension.si} | `{dimension.example}` |" in page
    for prefix in {p for row in units._ROWS for p in row.prefixes if p}:
        assert f"`{prefix}`" in page


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda p: p.relative_to(DOCS).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_index_names_every_generated_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert [name for name in reference.PAGES if f"(reference/{name})" not in index] == []


def test_the_glossary_gives_one_name_to_one_thing() -> None:
    rows = [line.split("|")[1:-1] for line in (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    names = [name.strip() for row in rows if row[0].strip() not in ("name", "suffix") for name in row[0].split(",")]
    assert len(names) > 60
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
    avoided = {word.strip() for row in rows if len(row) == 3 for word in row[2].split(",")} - {"–", "not called"}
    assert avoided & set(names) <= {"price"}  # a cost is not called price, which is another thing
