"""Named random streams: a new consumer never shifts another's draws."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["stream"]


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator of one named consumer of randomness.

    Parameters
    ----------
    seed : int
        The scenario's seed, at least 0.
    *names : str or int
        Names the consumer, such as ``"failures", "gpu", 17``. Equal names give equal draws on every platform, whatever
        ``PYTHONHASHSEED`` is; ``17`` and numpy's ``17`` are one name, ``17`` and ``"17"`` are two.

    Examples
    --------
    >>> bool(stream(1, "jobs").random() == stream(1, "jobs").random())
    True
    """
    label = "\x1f".join("str:" + n.replace("\x1f", "\x1f\x1f") if isinstance(n, str) else f"int:{int(n)}" for n in names)
    digest = hashlib.sha256(label.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 32, 4)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))
