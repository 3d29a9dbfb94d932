"""Facts on hardware, models, prices, energy and failures, each with its source, and their look-up.

The look-ups of the default catalog are functions of this package; they are loaded when they are first used::

    from hpcsim import catalog
    catalog.accelerator("A100-80GB").tdp_w
    catalog.show("llama3-8b").facts
    catalog.price(provider="aws", accelerator="h100", term="spot")

See :class:`hpcsim.catalog.lookup.Catalog` for what there is, and for overlays of one's own.
"""

from __future__ import annotations

from typing import Any

_LOOKUPS = (
    "accelerator",
    "carbon_intensity",
    "data_method",
    "electricity_price",
    "fabric",
    "find",
    "host_rate",
    "idle_power",
    "kinds",
    "link",
    "listing",
    "model",
    "names",
    "node",
    "node_power",
    "power",
    "price",
    "price_sources",
    "pue",
    "reliability",
    "show",
    "spot_interruption",
    "storage",
    "system",
)


def __getattr__(name: str) -> Any:
    if name not in _LOOKUPS:
        raise AttributeError(f"module 'hpcsim.catalog' has no attribute {name!r}")
    from hpcsim.catalog.lookup import default

    return getattr(default(), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LOOKUPS})
