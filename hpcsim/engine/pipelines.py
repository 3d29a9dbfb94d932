"""Data pipelines event by event: every stage, or all of them at once, as flows that share links and tiers with everything else."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import numpy as np
import simpy

from hpcsim.engine.clock import Clock
from hpcsim.engine.contention import Member
from hpcsim.workload.pipeline_times import Laid

__all__ = ["ALL", "PipelineRun"]

ALL = "all stages"
"""The load of a pipeline whose stages run at once."""


class PipelineRun:
    """One run of a pipeline and what became of it.

    Parameters
    ----------
    laid : Laid
        The pipeline on its nodes.
    member : Member
        Its loads on the network: one for each stage by name, or :data:`ALL`.

    Attributes
    ----------
    start_s, end_s : float
        Begin and end [s]; NaN until they are known.
    begins_s, ends_s : array, shape (stages,)
        Begin and end of each stage [s]; NaN until they are known.
    """

    def __init__(self, laid: Laid, member: Member) -> None:
        self.laid, self.member = laid, member
        self.start_s = self.end_s = math.nan
        stages = len(laid.plan.stages)
        self.begins_s = np.full(stages, np.nan)
        self.ends_s = np.full(stages, np.nan)

    def process(self, clock: Clock) -> Generator[simpy.Event, Any, None]:
        """Run on ``clock`` from now to the end."""
        self.start_s = clock.now
        self.member.join()
        if self.laid.plan.streaming:
            yield from self._all(clock)
        else:
            for stage, seconds in enumerate(self.laid.alone_s.tolist()):
                self.begins_s[stage] = clock.now
                yield from self._go(clock, self.laid.plan.stages[stage].name, seconds)
                self.ends_s[stage] = clock.now
        self.member.leave()
        self.end_s = clock.now

    def _all(self, clock: Clock) -> Generator[simpy.Event, Any, None]:
        """Run all stages at once; where they take longer than alone, each begins and ends later in proportion."""
        total_s = self.laid.total_s
        lead, tail = self.laid.windows_s()
        self.begins_s = self.start_s + lead
        yield from self._go(clock, ALL, total_s)
        stretch = (clock.now - self.start_s) / total_s if total_s > 0 else 1.0
        self.begins_s, self.ends_s = self.start_s + lead * stretch, self.start_s + tail * stretch

    def _go(self, clock: Clock, load: str, seconds: float) -> Generator[simpy.Event, Any, None]:
        """Wait while a load takes ``seconds`` with nobody else on its ways."""
        if seconds <= 0:
            return
        done = simpy.Event(clock)

        def finished() -> None:
            done.succeed()

        self.member.begin(load, seconds, finished)
        yield done
