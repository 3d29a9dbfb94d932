"""Reports: charts, tables, the terminal and one self-contained HTML page."""

from __future__ import annotations

from hpcsim.report.write import write_report

__all__ = ["write_report"]
