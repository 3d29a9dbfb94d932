"""What the README shows is run: its commands, its scenario, its Python."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import shlex
from pathlib import Path

import pytest

from hpcsim.cli.main import main
from hpcsim.evidence.training import SHIPPED

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every ``hpcsim …`` of the shell blocks and of the text, as arguments; a ``…`` stands for more and is no command."""
    shell = [part for block in blocks("sh") for part in re.split(r"&&|\n|;", block)]
    inline = re.findall(r"`(hpcsim [^`]+)`", README)
    found = []
    for text in [*shell, *inline]:
        words = shlex.split(text.strip())
        if words and Path(words[0]).name == "hpcsim" and "…" not in text:
            found.append(words[1:])
    return found


COMMANDS = commands()
LOG = "; UnixStartTime: 0\n" + "".join(
    f"{i} {50 * i} -1 {i % 7 * 300 + 60} {i % 20 + 1} -1 -1 {i % 20 + 1} 3600 -1 1 1 1 -1 -1 -1 -1 -1\n" for i in range(1, 60)
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the scenarios, the README's own scenario and a job log, in which the README's commands run."""
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    (tmp_path / "my.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    cases = re.split(r"(?m)^(?=- id:)", SHIPPED.read_text(encoding="utf-8"))
    (tmp_path / "steps.yaml").write_text("".join(case for case in cases if "group: korthikanti22\n" in case), encoding="utf-8")
    (tmp_path / "log.swf.gz").write_bytes(gzip.compress(LOG.encode()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_shows_what_is_tried() -> None:
    assert len(blocks("sh")) == 2
    assert {argv[0] for argv in COMMANDS} >= {"run", "estimate", "replay", "sweep", "check", "catalog", "schema"}
    assert len(blocks("yaml")) >= 1
    assert len(blocks("python")) >= 1


@pytest.mark.parametrize("argv", COMMANDS, ids=lambda argv: " ".join(argv))
def test_a_command_of_the_readme_runs(argv: list[str], checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.strip()
    if argv[0] == "run":
        assert (checkout / "reports" / Path(argv[1]).stem / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("number", range(len(blocks("yaml"))))
def test_a_scenario_of_the_readme_is_right(number: int, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "shown.yaml").write_text(blocks("yaml")[number], encoding="utf-8")
    assert main(["check", "shown.yaml"]) == 0
    assert main(["run", "shown.yaml", "--no-charts"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_python_of_the_readme_runs(number: int, checkout: Path) -> None:
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(blocks("python")[number], "README.md", "exec"), names)
    assert len(names["table"]) == 3  # type: ignore[arg-type]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
