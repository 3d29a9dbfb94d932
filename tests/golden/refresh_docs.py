"""Writes the computed figures of the pages anew: ``python tests/golden/refresh_docs.py`` in the repository's folder.

Only what hpcsim computes: the output of blocks marked ``measured``, constants, and published figures beside the predicted ones. Worked numbers of theory
stay as they are; where they fail, the code is wrong.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.golden.doc_blocks import Block, blocks
from tests.golden.test_docs import MODELS, WITH_PUBLISHED, attribute, compared


def output_of(block: Block, names: dict[str, Any]) -> str:
    """Run a doctest block and return it with the output that it has now."""
    lines = []
    for example in doctest.DocTestParser().get_examples(block.text):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(example.source, "<page>", "single"), names)
        first, *rest = example.source.rstrip("\n").split("\n")
        lines += [f">>> {first}", *(f"... {line}" for line in rest), *said.getvalue().splitlines()]
    return "\n".join(lines) + "\n"


def refreshed(page: Path) -> str:
    """Return the text of a page with its computed figures as they are now."""
    text = page.read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.language != "python" or block.file:
            continue
        now = output_of(block, names) if ">>>" in block.text else exec(block.text, names)
        if block.measured and now:
            text = text.replace(block.text, now)
    for path, cell in re.findall(r"^\| `(hpcsim(?:\.\w+)+)` \| ([^|]+) \|", text, re.MULTILINE):
        if attribute(path) != eval(cell):
            text = text.replace(f"| `{path}` | {cell} |", f"| `{path}` | {attribute(path)!r} |")
    for scenario in WITH_PUBLISHED:
        for metric, row in compared(scenario).items():
            text = re.sub(
                rf"^\| `{scenario}` \| `{metric}` \| [^|]+ \| [^|]+ \| [\d.]+ \|", lambda _, line=row[3]: line, text, flags=re.MULTILINE
            )
    return text


def main() -> None:
    """Write every model page whose figures have moved."""
    for page in MODELS:
        text = refreshed(page)
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
