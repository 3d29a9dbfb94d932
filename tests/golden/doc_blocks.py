"""The fenced blocks of Markdown pages, and how each kind of them is run."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from hpcsim.catalog.files import KINDS
from hpcsim.catalog.lookup import Catalog
from hpcsim.cli.main import main
from hpcsim.run.bind import check
from hpcsim.scenario.load import loads

_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_KINDS = {name for kind in KINDS.values() for name in (kind.name, kind.plural)}


class Block(NamedTuple):
    """One fenced block."""

    language: str
    file: str
    """Name of the file that it is, empty where it is none."""
    text: str
    line: int
    measured: bool = False
    """Whether its output is what hpcsim computes today, rather than what theory or a source says it must be."""


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        name = re.search(r"file=(\S+)", match[2])
        line = text[: match.start()].count("\n") + 1
        found.append(Block(match[1], name[1] if name else "", match[3], line, "measured" in match[2].split()))
    return found


def prose(page: Path) -> str:
    """Return the text of a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def run_python(block: Block, names: dict[str, Any], page: str) -> None:
    """Run a block as a doctest where it is one, else as statements; names last over a page."""
    if ">>>" not in block.text:
        exec(compile("\n" * block.line + block.text, page, "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(block.text, names, page, page, block.line)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append, clear_globs=False)
    names.update(test.globs)
    assert not said, "".join(said)


def run_yaml(block: Block, page: str) -> None:
    """Check a scenario in both phases, or read an overlay."""
    if set(re.findall(r"^(\w+):", block.text, re.MULTILINE)) & _KINDS:
        path = Path("overlay.yaml")
        path.write_text(block.text, encoding="utf-8")
        assert Catalog([path]).kinds()
        return
    problems = check(loads(block.text, page))
    assert problems == [], "\n".join(map(str, problems))


def commands(block: Block) -> list[list[str]]:
    """Return the calls of hpcsim in a shell block, each as its arguments."""
    calls = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "hpcsim":
            calls.append(words[1:])
    return calls


def run_sh(block: Block) -> None:
    """Run the calls of hpcsim in this process; each has to end well."""
    for arguments in commands(block):
        assert main(arguments) == 0, " ".join(["hpcsim", *arguments])
