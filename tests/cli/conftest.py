"""The command line in process: what it returns and prints, and what it leaves on disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from hpcsim.cli.main import main


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def codes(self) -> list[str]:
        """Code of every problem, one a line; a line without one is an error."""
        found = [re.search(r"\[([a-z0-9-]+)\]$", line) for line in self.err.splitlines()]
        assert all(found), self.err
        return [match[1] for match in found if match]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything under a folder, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture
def hpcsim_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Done]:
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> Done:
        capsys.readouterr()
        status = main(list(argv))
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def on_disk(tmp_path: Path) -> Callable[[], dict[str, bytes | None]]:
    return lambda: tree(tmp_path)
