"""How a figure goes over the values of an axis, in words, and what an axis is called."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["course", "is_plural", "names_of"]


def course(
    values: Sequence[float],
    said: Sequence[str],
    places: Sequence[str],
    *,
    plural: bool = False,
    way: bool = False,
    spans: Sequence[str] = (),
) -> str:
    """Return the predicate of a sentence about a figure along an axis: from end to end, or where it is least or most in between.

    Parameters
    ----------
    values : sequence of float
        The figure at each place, in the order of the axis; at least one.
    said : sequence of str
        The same for a reader. What reads alike is taken for equal.
    places : sequence of str
        The values of the axis, for a reader.
    plural : bool
        Whether the subject is plural.
    way : bool
        Whether to say "grows" or "falls" where it does, in place of "goes".
    spans : sequence of str
        What is to stand behind each value, such as its range, with its blank.

    >>> course([303.3, 300.4, 310.6], ["303 d", "300 d", "311 d"], ["10 min", "1 h", "8 h"])
    'is least at 1 h, 300 d; 303 d at 10 min, 311 d at 8 h'
    >>> course([3.0, 1.0], ["3 s", "1 s"], ["1", "3"], way=True)
    'falls from 3 s at 1 to 1 s at 3'
    >>> course([3.0001, 3.0], ["3 s", "3 s"], ["1", "3"])
    'hardly changes: 3 s at 1, 3 s at 3'
    """
    last = len(values) - 1
    least, most = values.index(min(values)), values.index(max(values))
    full = [f"{text}{span}" for text, span in zip(said, spans or [""] * len(said), strict=True)]
    ends = f"{full[0]} at {places[0]}, {full[last]} at {places[last]}"
    if said[least] == said[most]:
        return f"hardly change{'' if plural else 's'}: {ends}"
    inner = [  # what reads like an end is no turn
        f"{word} at {places[at]}, {full[at]}" for word, at in (("least", least), ("most", most)) if said[at] not in (said[0], said[last])
    ]
    if inner:
        return f"{'are' if plural else 'is'} {' and '.join(inner)}; {ends}"
    verb = ("grow" if values[last] > values[0] else "fall") if way else "go" if plural else "goe"
    return f"{verb}{'' if plural else 's'} from {full[0]} at {places[0]} to {full[last]} at {places[last]}"


def is_plural(label: str) -> bool:
    """Return whether a label names several things.

    >>> is_plural("replicas"), is_plural("chat: further tokens, median"), is_plural("loss of capacity"), is_plural("cost per request")
    (True, True, False, False)
    """
    head = re.split(r",| (?:that|of|per|by|at|in|into|over|with|while|past|for|left|to) ", label.rpartition(": ")[2], maxsplit=1)[0].split()
    return any(word.endswith("s") and not word.endswith("ss") for word in (head[:1] + head[-1:]))


def names_of(paths: Sequence[str]) -> list[str]:
    """Return short names of dotted paths: their last two parts, and more where two would have the same name.

    >>> names_of(["workload.training.llama.checkpoint.every"]), names_of(["a.x.count", "b.x.count"])
    (['checkpoint every'], ['a x count', 'b x count'])
    """
    parts = [path.split(".") for path in paths]
    for length in range(2, max(map(len, parts), default=0) + 1):
        names = [" ".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)
