"""Write the made job log of the scenario ``mixed-pool``: ``python tests/golden/mixed_log.py``.

Three kinds of jobs over four days: cpu jobs of one or several nodes, jobs with accelerators, and jobs of one node with much memory. Times between
submissions are exponential with more by day, run times lognormal, limits the run time times up to four, sizes powers of two.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

FILE = Path(__file__).resolve().parents[2] / "scenarios" / "mixed-log.csv"
DAYS, SEED = 4, 11


class Kind(NamedTuple):
    """Jobs of a queue: their number, median run time [s] and its spread, and the choices of (nodes, cores of one, accelerators of one) by weight."""

    queue: str
    jobs: int
    median_s: float
    spread: float
    sizes: tuple[tuple[int, int, int], ...]
    weights: tuple[float, ...]
    memory_gb: tuple[int, ...]
    """Of a node."""


KINDS = (
    Kind("batch", 1500, 5400.0, 1.2, ((1, 8, 0), (1, 64, 0), (2, 64, 0), (4, 64, 0), (8, 64, 0), (16, 64, 0), (32, 64, 0)),
         (0.25, 0.25, 0.15, 0.15, 0.1, 0.07, 0.03), (32, 128)),
    Kind("gpu", 620, 7200.0, 1.2, ((1, 8, 1), (1, 16, 2), (1, 32, 4), (1, 64, 8), (2, 64, 8), (4, 64, 8)),
         (0.4, 0.2, 0.15, 0.13, 0.08, 0.04), (32, 128, 256)),
    Kind("large", 100, 9000.0, 0.9, ((1, 16, 0), (1, 32, 0), (1, 64, 0)), (0.4, 0.3, 0.3), (600, 1200, 2400)),
)  # fmt: skip


def rows_of(kind: Kind, rng: np.random.Generator) -> list[tuple[int, int, int, int, int, int, int, int, str]]:
    """Return (submit, run, limit, cores, nodes, accelerators, GB, user, queue) of the jobs of a kind."""
    hour = rng.random(4 * kind.jobs) * DAYS * 24
    busy = rng.random(len(hour)) < 0.35 + 0.65 * np.sin(np.pi * (hour % 24) / 24) ** 2
    submit = np.sort(hour[busy][: kind.jobs]) * 3600
    run = np.clip(kind.median_s * np.exp(kind.spread * rng.standard_normal(kind.jobs)), 30, 86_400)
    limit = np.clip(np.ceil(run * rng.uniform(1.05, 4.0, kind.jobs) / 600) * 600, 600, 172_800)
    size = rng.choice(len(kind.sizes), kind.jobs, p=np.array(kind.weights) / sum(kind.weights))
    memory = rng.choice(kind.memory_gb, kind.jobs)
    user = rng.integers(1, 60, kind.jobs)
    rows = []
    for at in range(len(submit)):
        nodes, cores, gpus = kind.sizes[size[at]]
        rows.append(
            (int(submit[at]), int(run[at]), int(limit[at]), nodes * cores, nodes, nodes * gpus, nodes * int(memory[at]), int(user[at]), kind.queue)
        )  # fmt: skip
    return rows


def text() -> str:
    """Return the log."""
    rng = np.random.default_rng(SEED)
    rows = sorted(row for kind in KINDS for row in rows_of(kind, rng))
    lines = ["submit,run,limit,cores,nodes,gpus,mem,user,queue", *(",".join(map(str, row)) for row in rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
