"""Reports: charts, tables, the terminal and one self-contained HTML page.

``write_report`` is loaded when it is first used: the terminal's text needs no matplotlib.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcsim.report.write import write_report as write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    if name != "write_report":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hpcsim.report.write import write_report

    return write_report
