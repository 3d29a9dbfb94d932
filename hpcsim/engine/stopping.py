"""What it costs a job to be stopped and to go on, or to change its size."""

from __future__ import annotations

import dataclasses

__all__ = ["Stopping"]


@dataclasses.dataclass(frozen=True, slots=True)
class Stopping:
    """What it costs a job to be stopped and to go on.

    A checkpoint is written at the end of each ``interval_s`` of work, or, with ``notice``, when the job is told to stop. What was done since is lost.

    Attributes
    ----------
    save_s, restore_s : float [s]
        Time to write a checkpoint at notice, and to read one.
    interval_s : float [s]
        Work between checkpoints, for a job that is stopped without notice.
    resubmit_s : float [s]
        Time until a job that is requeued waits again.
    notice : bool
        Whether jobs are told before they are stopped.

    Examples
    --------
    With notice a stop costs the time to save and to restore; without it, half an interval on average, and the time to restore:

    >>> Stopping(save_s=120.0, restore_s=60.0).cost_s("checkpoint")
    180.0
    >>> Stopping(restore_s=60.0, interval_s=900.0, resubmit_s=30.0, notice=False).cost_s("checkpoint")
    540.0
    """

    save_s: float = 0.0
    restore_s: float = 0.0
    interval_s: float = 3600.0
    resubmit_s: float = 0.0
    notice: bool = True

    def kept_s(self, how: str, before_s: float, worked_s: float) -> float:
        """Return what a job keeps that had done ``before_s`` and worked for ``worked_s`` since: never more than it has done, nor less than it kept."""
        if how in ("suspend", "resize"):
            return before_s + worked_s
        if how == "requeue":
            return 0.0
        if self.notice:
            return before_s + max(0.0, worked_s - self.save_s)
        return max(before_s, (before_s + worked_s) // self.interval_s * self.interval_s)

    def restart_s(self, how: str) -> float:
        """Return how long a job works to be where it was when it goes on; one that changes its size saves first, on its new nodes."""
        if how == "resize":
            return self.save_s + self.restore_s
        return self.restore_s if how == "checkpoint" else 0.0

    def cost_s(self, how: str) -> float:
        """Return what a stop costs on average, beside the wait: work done twice, saving, restoring and, without notice, coming back."""
        if how != "checkpoint":
            return 0.0
        return self.save_s + self.restore_s if self.notice else self.restore_s + self.resubmit_s + self.interval_s / 2.0
