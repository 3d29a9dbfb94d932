"""Write a report: summary, tables, charts and the page, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from hpcsim.report.charts import charts as charts_of
from hpcsim.report.html import SVG_LIMIT, page
from hpcsim.results.record import Results
from hpcsim.results.store import Writer

__all__ = ["write_report"]


def write_report(
    results: Results, folder: str | Path, *, charts: bool = True, png: bool = False, parquet: bool = False, timings: bool = True
) -> list[Path]:
    """Write ``summary.json``, the tables, ``charts/``, ``report.html`` and ``provenance.json`` into ``folder``.

    Everything is made before the first file is put in place; if anything fails, the folder is as it was.

    Parameters
    ----------
    results : Results
    folder : path
        Made where it does not exist. Unchanged files of an earlier report that this one lacks are removed.
    charts : bool
        Whether to draw; without charts the page has the figures and tables only.
    png : bool
        Whether to write every picture as PNG beside the SVG.
    parquet : bool
        Write the tables as parquet as well; needs the extra ``parquet``.
    timings : bool
        Whether to write how long hpcsim itself took; without it equal runs write equal bytes.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        The folder cannot be written, or pyarrow is missing.
    """
    drawn = charts_of(results) if charts else []
    files: dict[str, bytes | Writer] = {"report.html": page(results, drawn, timings=timings).encode("utf-8")}
    for chart in drawn:
        picture = chart.svg().encode("utf-8")
        if png or len(picture) > SVG_LIMIT:
            files[f"charts/{chart.name}.png"] = chart.png()
        if png or len(picture) <= SVG_LIMIT:
            files[f"charts/{chart.name}.svg"] = picture
            if results.kind == "replay":  # for slides, which take no SVG
                files[f"charts/{chart.name}.png"] = chart.png()
    return results.write_with(files, folder, parquet=parquet, timings=timings)
