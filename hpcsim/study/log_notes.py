"""What a reader must know of how a log was read: the columns that were used, the jobs that were left out, and what they ask for that nobody looks at."""

from __future__ import annotations

from hpcsim.base.units import percent
from hpcsim.scheduling.machine import NodeClass
from hpcsim.workload.jobs import NOT_HELD, JobTable, Trace

__all__ = ["column_notes", "held_notes", "left_out"]


def column_notes(trace: Trace) -> list[str]:
    """Return which columns of a table were read as what, which were not, and how to name those; nothing for other logs.

    Parameters
    ----------
    trace : Trace

    Examples
    --------
    >>> from hpcsim.workload.jobs import JobTable
    >>> table = JobTable.of([0], [10], [1])
    >>> column_notes(Trace(table, columns={"submit": "submit", "run": "took"}, unread={"mem": "memory=mem [GB]"}))[0]
    "Columns used: submit, run (took); not understood: mem (in which unit?). To read them: --columns 'submit=submit, run=took, memory=mem [GB]'."
    """
    if not trace.columns:
        return []
    used = ", ".join(key if key == column else f"{key} ({column})" for key, column in trace.columns.items())
    if not trace.unread:
        return [f"Columns used: {used}."]
    left = ", ".join(f"{column} (in which unit?)" if part.endswith("]") else column for column, part in trace.unread.items())
    if not all(trace.unread.values()):
        return [f"Columns used: {used}; not used: {left}."]
    line = ", ".join([f"{key}={column}" for key, column in trace.columns.items()] + list(trace.unread.values()))
    return [f"Columns used: {used}; not understood: {left}. To read them: --columns '{line}'."]


def left_out(trace: Trace, most: int | None = None) -> tuple[int, str]:
    """Return how many jobs a log has with those that the machine does not hold, and a sentence on these, "" where there are none.

    Parameters
    ----------
    trace : Trace
    most : int, optional
        No more than so many jobs were taken: the log's share that was left out is not known then, and the first number is that of the jobs taken.

    Examples
    --------
    >>> from hpcsim.workload.jobs import Finding
    >>> left_out(Trace(JobTable.of([0], [10], [1]), (Finding("asks for no accelerator", 3, "dropped", "line 2"),)))
    (4, ' 3 of 4 jobs (75 %) were left out: asks for no accelerator.')
    """
    found = [finding for finding in trace.quality if finding.action == "dropped" and finding.issue.startswith(NOT_HELD)]
    count, kept = sum(finding.rows for finding in found), len(trace.jobs)
    if not count:
        return kept, ""
    were, why = "were" if count > 1 else "was", "; ".join(finding.issue for finding in found)
    if most is not None:
        return kept, f" {count:,} more {were} left out: {why}."
    share = count / (kept + count)
    return kept + count, f" {count:,} of {kept + count:,} jobs ({percent(share, 0 if share >= 0.01 else 2)}) {were} left out: {why}."


def held_notes(jobs: JobTable, node: NodeClass | None, *, by_gpus: bool) -> list[str]:
    """Return what jobs ask for that a replay does not look at or its nodes lack, and what changes that.

    Parameters
    ----------
    jobs : JobTable
        All of the log that were read.
    node : NodeClass, optional
        The nodes that jobs get; without them a job takes any processors.
    by_gpus : bool
        Whether jobs are counted by their accelerators.

    Examples
    --------
    >>> held_notes(JobTable.of([0, 0], [9, 9], [1, 1], gpus=[0, 2]), None, by_gpus=False)[0].partition(";")[0]
    'Not looked at: the accelerators that 1 of 2 jobs asks for (--gpus-per-node counts by them the jobs that have any)'
    """
    gpus, memory = int((jobs.filled("gpus") > 0).sum()), int((jobs.filled("memory_bytes") > 0).sum())

    def who(count: int) -> str:
        return f"{count:,} of {len(jobs):,} jobs ask{'s' if count == 1 else ''} for"

    notes = []
    if gpus and node is not None and not node.gpus:
        notes.append(
            f"Accelerators, which {who(gpus)}, are not on these nodes: --gpus-per-node gives them some and takes the jobs that have any."
        )
    if node is not None and node.memory_bytes and not memory:
        notes.append("No job of the log states what memory it needs: the nodes' memory holds none back.")
    loose = []
    if gpus and node is None and not by_gpus:
        loose.append(f"the accelerators that {who(gpus)} (--gpus-per-node counts by them the jobs that have any)")
    if memory and (node is None or not node.memory_bytes):
        loose.append(f"the memory that {who(memory)} (--memory-per-node holds them to it)")
    if loose:
        notes.append(
            f"Not looked at: {', '.join(loose)}; all is looked at with --nodes smallest, or in a scenario with workload.jobs.trace."
        )
    return notes
