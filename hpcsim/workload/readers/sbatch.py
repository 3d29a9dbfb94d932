"""Event lists of the Slurm simulator: one ``sbatch`` line a job, with its time of submission and its true run time.

Reference: N. Simakov et al., "A Slurm simulator: implementation and parametric analysis", PMBS 2017, and the event files of its tools;
SchedMD, manual page of sbatch for the options.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcsim.workload.jobs import Finding, Floats, Trace, TraceOptions, trace_readers
from hpcsim.workload.readers.amounts import bytes_of, durations_s, each, numbers
from hpcsim.workload.readers.dated import trace_of
from hpcsim.workload.readers.rows import Rows
from hpcsim.workload.readers.text import TRACE_NO_ROWS, decoded, unpacked

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SbatchReader"]

_MIB = 2.0**20


def _option(lines: pd.Series, *names: str) -> Any:
    """Return the value of an option on each line, "" where it is not given; ``-t X``, ``-tX`` and ``--time=X`` are the same."""
    forms = [rf"--{name}[= ]\s*" if len(name) > 1 else rf"-{name}\s*" for name in names]
    found = lines.str.extract(rf"(?:^|\s)(?:{'|'.join(forms)})(\"[^\"]*\"|'[^']*'|[^\s]+)", expand=False)
    return found.fillna("").str.strip("\"'").to_numpy(dtype=object)


def _first(word: str) -> float:
    """Return the smaller end of a count or a range (``2-4``)."""
    try:
        return float(word.partition("-")[0])
    except ValueError:
        return np.nan


def _gpus(word: str) -> float:
    """Return the GPUs of ``--gres`` or ``--gpus``: ``gpu:2``, ``gpu:a100:2``, ``a100:2,v100:1``, ``4``; NaN where there are none."""
    total, seen = 0.0, False
    for part in word.split(","):
        words = part.strip().removeprefix("gres/").split(":")
        last = words[-1].partition("(")[0]
        if last.isdigit():
            total, seen = total + int(last), True
        elif words[0] == "gpu":
            total, seen = total + 1, True
    return total if seen else np.nan


def _gres(word: str) -> float:
    parts = [part for part in word.split(",") if part.removeprefix("gres/").startswith("gpu")]
    return _gpus(",".join(parts)) if parts else np.nan


def _size(word: str) -> float:
    return bytes_of(word, _MIB)


def _columns(lines: pd.Series) -> dict[str, Any]:
    """Return the columns of a job from its sbatch line."""
    nodes = each(_option(lines, "N", "nodes"), _first)
    given, nodes = nodes, np.where(nodes > 0, nodes, 1.0)
    tasks = numbers(_option(lines, "n", "ntasks"))
    per_node = numbers(_option(lines, "ntasks-per-node"))
    tasks = np.where(tasks > 0, tasks, np.where(per_node > 0, per_node * nodes, nodes))
    per_task = numbers(_option(lines, "c", "cpus-per-task"))
    cores = tasks * np.where(per_task > 0, per_task, 1.0)
    gpus = _of_job(lines, nodes, tasks)
    per_core, per_gpu = each(_option(lines, "mem-per-cpu"), _size), each(_option(lines, "mem-per-gpu"), _size)
    memory = each(_option(lines, "mem"), _size) * nodes
    memory = np.where(np.isnan(memory), per_core * cores, memory)
    dependency = lines.str.extract(r"(?:--dependency[= ]|\s-d\s*)['\"]?after\w*:(\w+)", expand=False).fillna("")
    nice = numbers(_option(lines, "nice"))
    priority = numbers(_option(lines, "priority"))
    return {
        "requested": cores,
        "nodes": given,
        "gpus": gpus,
        "memory": np.where(np.isnan(memory), per_gpu * gpus, memory),
        "estimate": durations_s(_option(lines, "t", "time")),
        "user": _option(lines, "uid"),
        "group": _option(lines, "A", "account"),
        "queue": _option(lines, "p", "partition"),
        "qos": _option(lines, "q", "qos"),
        "constraint": _option(lines, "C", "constraint"),
        "licences": _option(lines, "L", "licenses"),
        "buffer": each(
            lines.str.extract(r"(?:--bb[= ]|#BB|#DW)[^|]*?capacity=(\w+)", expand=False).fillna("").to_numpy(dtype=object), _size
        ),
        "exclusive": lines.str.contains(r"\s--exclusive\b").to_numpy(dtype=np.bool_),
        "after": dependency.to_numpy(dtype=object),
        "priority": np.where(np.isnan(priority), np.where(np.isnan(nice), np.nan, -nice), priority),
        "name": _option(lines, "J", "job-name"),
    }


def _of_job(lines: pd.Series, nodes: Floats, tasks: Floats) -> Floats:
    """Return the accelerators of a whole job: ``--gres`` and ``--gpus-per-node`` count for each node."""
    found = each(_option(lines, "G", "gpus"), _gpus)
    for words, times in (
        (each(_option(lines, "gpus-per-node"), _gpus), nodes),
        (each(_option(lines, "gres"), _gres), nodes),
        (each(_option(lines, "gpus-per-task"), _gpus), tasks),
    ):
        found = np.where(np.isnan(found), words * times, found)
    return found


@trace_readers.register("sbatch-events")
class SbatchReader:
    """``-dt SECONDS -e submit_batch_job | -sim-walltime SECONDS …sbatch options… SCRIPT``, one line a job.

    A true run time below 0 stands for one that lasts to its limit. Sizes are tasks times cores of a task; ``--mem`` and ``--gres`` count per node.
    """

    suffixes = (".events",)

    @staticmethod
    def sniff(opening: str) -> bool:
        """Return whether a file that begins so is of this format."""
        return any("-sim-walltime" in line and "-dt" in line for line in opening.splitlines()[:50])

    @staticmethod
    def read(path: str | Path, options: TraceOptions) -> Trace:
        """Return the jobs of a log."""
        import pandas as pd

        name = str(path)
        text, findings = decoded(unpacked(path), name)
        lines = pd.Series(text.split("\n"), dtype=str).str.rstrip("\r")
        at = np.arange(1, len(lines) + 1)
        used = (lines.str.strip() != "").to_numpy() & ~lines.str.lstrip().str.startswith("#").to_numpy()
        if not used.any():
            raise TRACE_NO_ROWS.error(file=name)
        lines, at = lines[used].reset_index(drop=True), at[used]
        head = lines.str.extract(r"^\s*-dt\s+(\S+)\s+-e\s+(\S+)\s*(?:\|\s*(.*))?$")
        total = len(lines)
        cut = bool(head[1].isna().iloc[-1] or head[2].isna().iloc[-1]) and not text.endswith("\n")
        if cut:
            findings.append(Finding("last row cut off: the file is not whole", 1, "dropped", f"line {at[-1]}"))
            lines, at, head = lines[:-1], at[:-1], head[:-1]
        sbatch = head[2].fillna("").astype(str)
        event = head[1].fillna("").to_numpy(dtype=object)
        number = sbatch.str.extract(r"(?:^|\s)--?jobid[= ]\s*(\d+)", expand=False).fillna("").to_numpy(dtype=object)
        titles = _option(sbatch, "J", "job-name")
        own = pd.Series(titles, dtype=str).str.extract(r"^jobid_(\d+)$", expand=False).fillna("").to_numpy(dtype=object)
        whole = pd.Series(own).map(lambda word: str(int(word)) if word else "").to_numpy(dtype=object)
        rows = Rows({"job": np.where(number != "", number, whole), "event": event}, at.astype(np.int64), findings)
        run = numbers(_option(sbatch, "sim-walltime").astype(object)) if len(sbatch) else np.empty(0)
        run = np.where(np.isnan(run), numbers(sbatch.str.extract(r"-sim-walltime\s+(\S+)", expand=False).fillna("")), run)
        rows.columns |= {"submit": numbers(head[0].fillna("")), "run": run} | _columns(" " + sbatch)
        rows.drop(rows["event"] == "", "row that is no event")
        rows.drop(rows["event"] != "submit_batch_job", "event that submits nothing")
        limit = rows["run"] < 0
        rows.note(limit, "lasts to its limit", "kept")
        rows.columns["run"] = np.where(limit, rows["estimate"], rows["run"])
        if options.dependencies is False:
            del rows.columns["after"]
        return trace_of(rows, options, file=name, rows_read=total, dated=False)
