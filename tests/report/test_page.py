import json
import re
from html.parser import HTMLParser

import pytest

from hpcsim.base.errors import InputError
from hpcsim.report import write_report
from hpcsim.report.charts import charts
from hpcsim.report.html import page
from hpcsim.report.terminal import as_json, as_text
from hpcsim.results.record import Results
from hpcsim.results.tables import frame

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
LOADS = {"src", "href", "xlink:href", "data", "srcset", "poster", "action", "background"}
KINDS = ("training", "batch", "replay", "sweep", "task")


class Checker(HTMLParser):
    """Reads a page as a browser must: tags that match, names that are unique, nothing loaded from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.names, self.words = [], [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(tag, attributes)

    def handle_startendtag(self, tag, attributes):
        self._attributes(tag, attributes)

    def _attributes(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.names.append(value)
            if name in LOADS and not (value or "").startswith(("#", "data:")):
                self.wrong.append(f"{tag} loads {value}")
            if name == "style" and re.search(r"url\((?!#)", value or ""):
                self.wrong.append(f"{tag} loads {value}")
            if name.startswith("on"):
                self.wrong.append(f"{tag} has {name}")
        if tag in ("link", "iframe", "object", "embed"):
            self.wrong.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> does not match")

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)


def read(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.wrong == []
    assert checker.open == []
    assert len(set(checker.names)) == len(checker.names)
    return " ".join(" ".join(checker.words).split())


@pytest.fixture(scope="module")
def pages(sample):
    found = {}
    for kind in KINDS:
        results = sample.ALL[kind]()
        found[kind] = (results, page(results, charts(results)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_well_formed_small_and_loads_nothing(pages, kind):
    _, text = pages[kind]
    read(text)
    assert not re.search(r"@import|url\(\s*[\"']?https?:", text)
    assert len(text.encode()) < 400_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_opens_with_the_question_and_its_answer(pages, kind):
    results, text = pages[kind]
    words = read(text[text.index("<main>") : text.index("</header>") + len("</header>")] + "</main>")
    assert results.question in words
    assert words.index(results.question) < words.index(results.answer)
    assert "seed 1" in words


def test_a_page_shows_units_ranges_sources_and_provenance(pages):
    results, text = pages["training"]
    words = read(text)
    for expected in ("106.3 days", "80 % range 95.6 – 119 days", "37.2 %", "527.5 MWh", "tokens/s", "1,877,198 USD", "62 GB"):
        assert expected in words
    for value in results.sources["source"]:
        assert value in words
    assert "from memory, unverified" in words
    assert "1 of them is from memory" in words
    assert results.provenance["scenario_sha256"] in words
    assert results.provenance["hpcsim"] in words
    for note in results.notes:
        assert note in words
    assert "9.2 % below (×0.908)" in words
    assert "Luccioni et al. 2022" in words


def test_what_the_user_wrote_is_escaped_everywhere(sample):
    evil = "<img src=x onerror=alert(1)> \"quoted\" & 'more'"
    tables = {
        "breakdown": frame("breakdown", {"name": evil, "term": [evil, "b"], "seconds": [2.0, 1.0], "fraction": [2 / 3, 1 / 3]}),
        "comparison": frame(
            "comparison", {"metric": evil, "unit": evil, "published": [1.0], "predicted": 2.0, "ratio": 2.0, "source": evil}
        ),
        "sources": frame(
            "sources", {"path": evil, "name": evil, "field": evil, "value": evil, "unit": evil, "source": [evil], "kind": "given"}
        ),
        "sweep": frame("sweep", {evil: [1, 2], "wall_clock_s": [1.0, 2.0]}),
    }
    results = Results(evil, evil, evil, "sweep", {"wall_clock_s": 1.0, evil: evil}, {}, tables, [evil], {"file": evil, evil: [evil]})
    text = page(results, charts(results))
    assert "<img" not in text
    assert evil in read(text)


def test_the_page_says_how_many_rows_it_shows(pages):
    results, text = pages["batch"]
    words = read(text)
    assert "the first 200 of 400 rows; all are in jobs.csv" in words
    body = text[text.index('id="table-jobs"') : text.index('id="table-states"')]
    assert body.count("<tr>") == 201
    assert "user" in body
    assert len(results.jobs) == 400


def test_a_result_without_anything_still_makes_a_page(tmp_path):
    results = Results("bare", "", "Nothing was asked.", "estimate", {})
    assert "Nothing was asked." in read(page(results, charts(results)))
    assert "Nothing was asked." in as_text(results)
    write_report(results, tmp_path)
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_is_written_whole_and_the_same_each_time(sample, tmp_path, kind):
    paths = write_report(sample.ALL[kind](), tmp_path / "one")
    write_report(sample.ALL[kind](), tmp_path / "two")
    names = [path.relative_to(tmp_path / "one").as_posix() for path in paths]
    assert {"summary.json", "provenance.json", "report.html"} <= set(names)
    assert any(name.startswith("charts/") for name in names)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert not list(tmp_path.rglob(".partial*"))
    document = json.loads((tmp_path / "one" / "provenance.json").read_text())
    assert set(document["files"]) == set(names) - {"provenance.json"}


def test_a_report_without_charts_and_timings(sample, tmp_path):
    write_report(sample.training_results(), tmp_path)
    paths = write_report(sample.training_results(), tmp_path, charts=False, timings=False)
    assert not (tmp_path / "charts").exists() or not list((tmp_path / "charts").iterdir())
    assert not any("charts" in path.parts for path in paths)
    assert "run time of hpcsim" not in (tmp_path / "report.html").read_text("utf-8")
    assert "run time of hpcsim" in page(sample.training_results(), [])


def test_a_report_into_a_file_is_refused_and_nothing_is_written(sample, tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InputError):
        write_report(sample.task_results(), tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_terminal_shows_figures_with_units_and_ranges(sample):
    text = as_text(sample.training_results(), width=80)
    lines = text.splitlines()
    assert lines[0] == "bloom-176b (simulate, seed 1)"
    assert "→ About 106 days" in text
    assert re.search(r"^wall clock +106\.3 days +80 %: 95\.6 – 119 days$", text, re.MULTILINE)
    assert re.search(r"^  matrix products +61\.2 s +58\.2 %$", text, re.MULTILINE)
    assert re.search(r"^  accelerator time +1,082,990 GPU h +979,218 GPU h +9\.6 % below$", text, re.MULTILINE)
    assert "1 from memory, unverified: a100-sxm-80gb idle power" in " ".join(text.split())
    assert all(line == line.rstrip() for line in lines)


def test_the_terminal_has_policies_side_by_side(sample):
    text = as_text(sample.replay_results())
    assert re.search(r"^ +fcfs +easy$", text, re.MULTILINE)
    assert re.search(r"^utilisation +71 % +71 %$", text, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_json_is_one_document_and_equals_the_file(sample, tmp_path, kind):
    results = sample.ALL[kind]()
    results.write(tmp_path)
    assert json.loads(as_json(results)) == json.loads((tmp_path / "summary.json").read_text("utf-8"))
