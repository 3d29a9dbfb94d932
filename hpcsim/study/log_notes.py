"""What a reader must know of how a log was read: the columns that were used, and those that were not."""

from __future__ import annotations

from hpcsim.workload.jobs import Trace

__all__ = ["column_notes"]


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
