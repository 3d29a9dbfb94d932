"""Results: declared tables, the record of a run with its provenance, and writing them whole or not at all.

The names below are loaded when they are first used, so that a part that needs no table (:mod:`~hpcsim.results.quantities`,
:mod:`~hpcsim.results.store`, :mod:`~hpcsim.results.provenance`) does not load pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcsim.results.record import Results as Results
    from hpcsim.results.tables import TABLES as TABLES
    from hpcsim.results.tables import Column as Column
    from hpcsim.results.tables import Table as Table
    from hpcsim.results.tables import TableMismatch as TableMismatch
    from hpcsim.results.tables import frame as frame

__all__ = ["TABLES", "Column", "Results", "Table", "TableMismatch", "frame"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{'record' if name == 'Results' else 'tables'}"), name)
