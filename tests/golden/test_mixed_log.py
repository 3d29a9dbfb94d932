"""The made job log of the scenario ``mixed-pool`` is what its program writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("hpcsim_mixed_log", Path(__file__).with_name("mixed_log.py"))
assert _spec is not None
assert _spec.loader is not None
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)


def test_the_log_is_what_its_program_writes() -> None:
    assert made.FILE.read_text(encoding="utf-8") == made.text()
