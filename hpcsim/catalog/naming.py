"""Accelerators as people write them: with makers' names, memory kinds, form factors and slice sizes around what the catalog knows."""

from __future__ import annotations

import re
from functools import lru_cache

from hpcsim.base.errors import InputError
from hpcsim.catalog.hardware import Accelerator
from hpcsim.catalog.lookup import Catalog

__all__ = ["described_accelerator"]

_FAMILIES = ("gpu", "tpu", "asic")


def _words(text: str) -> frozenset[str]:
    """Return the words of a device's name: letters and digits, sizes joined to their unit, form factors without their generation.

    >>> sorted(_words("NVIDIA A100-SXM4-80 GB"))
    ['80gb', 'a100', 'nvidia', 'sxm']
    """
    plain = re.sub(r"(\d+)\s*(?:gi?b)\b", r"\1gb", text.casefold())
    plain = re.sub(r"tpu(?=v\d)", "tpu ", plain)
    return frozenset(re.sub(r"^(sxm|pcie|oam)\d*$", r"\1", word) for word in re.findall(r"[a-z0-9]+", plain))


@lru_cache(maxsize=8)
def _known(catalog: Catalog) -> tuple[tuple[frozenset[str], str], ...]:
    """Return the words of every name of every training device, the entries in the order of the catalog."""
    out: list[tuple[frozenset[str], str]] = []
    for name in catalog.names("accelerator"):
        entry = catalog.accelerator(name)
        if entry.category in _FAMILIES:
            out += [(_words(known), entry.id) for known in (entry.id, *entry.aliases)]
    return tuple(out)


def described_accelerator(text: str, catalog: Catalog) -> Accelerator:
    """Return the accelerator that a description means.

    A catalog name or alias first; else the name all of whose words the description has, and the most of them:
    ``"NVIDIA A100-SXM4-80GB"``, ``"8x H100 SXM5"`` and ``"Cloud TPU v5p-256"`` are understood.

    Parameters
    ----------
    text : str
    catalog : Catalog

    Raises
    ------
    InputError
        Nothing fits; the hint says what is near.
    """
    try:
        return catalog.accelerator(text)
    except InputError:
        said = _words(text)
        fits = [(len(words), sum(map(len, words)), name) for words, name in _known(catalog) if words <= said]
        if not fits:
            raise
        most = max(fit[:2] for fit in fits)
        return catalog.accelerator(next(name for *size, name in fits if tuple(size) == most))
