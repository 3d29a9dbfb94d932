"""Every example in a docstring holds."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def examples() -> dict[str, int]:
    """Modules with examples, and how many each has."""
    found = {}
    for path in sorted((ROOT / "hpcsim").rglob("*.py")):
        count = len(re.findall(r"^ *>>> (?!.*doctest: \+SKIP)", path.read_text(encoding="utf-8"), re.MULTILINE))
        if count:
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = count
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted == EXAMPLES[name]
    assert result.failed == 0


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 90
