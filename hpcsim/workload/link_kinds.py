"""Links and fabrics by the names of their kinds: the catalog's terms (:mod:`hpcsim.catalog.link_kinds`) put into the cost formulas."""

from __future__ import annotations

from hpcsim.catalog.link_kinds import link_terms, spread_kind
from hpcsim.catalog.lookup import Catalog
from hpcsim.cost.arguments import Numeric
from hpcsim.cost.collectives import Fabric, Link, LinkClass

__all__ = ["fabric_of", "link_class", "link_of"]


def link_class(link: str, catalog: Catalog | None = None) -> LinkClass:
    """Return the terms of the kind that a link is of; of the default catalog without one.

    >>> link_class("nvlink4-switch").in_switch_frac > 0.5
    True
    """
    return LinkClass(**link_terms(link, catalog))


def link_of(link: str, bytes_per_s: Numeric, catalog: Catalog | None = None) -> Link:
    """Return a link by its name and line rate per device, one way."""
    return Link.of(link_class(link, catalog), bytes_per_s)


def fabric_of(
    *,
    scale_up: str,
    scale_up_bytes_per_s: Numeric,
    domain: Numeric,
    scale_out: str,
    scale_out_bytes_per_s: Numeric,
    oversubscription: Numeric = 1.0,
    torus_axes: int | None = None,
    host_bytes_per_s: Numeric = 25e9,
    catalog: Catalog | None = None,
) -> Fabric:
    """Return a fabric from the names of its two links and their rates per device, one way.

    Parameters
    ----------
    scale_up, scale_out : str
        Links or kinds of links, such as ``nvlink4``, ``infiniband-ndr``.
    scale_up_bytes_per_s, scale_out_bytes_per_s, domain, oversubscription, host_bytes_per_s
        As in :class:`hpcsim.cost.collectives.Fabric`.
    torus_axes : int, optional
        Two for ICI, else none, by default.
    catalog : Catalog, optional
        Where the terms of the kinds are; the default one without it.
    """
    axes = (2 if scale_up.lower().startswith("ici") else 0) if torus_axes is None else torus_axes
    return Fabric.of(
        scale_up=link_class(spread_kind(scale_up, domain), catalog),
        scale_up_bytes_per_s=scale_up_bytes_per_s,
        domain=domain,
        scale_out=link_class(scale_out, catalog),
        scale_out_bytes_per_s=scale_out_bytes_per_s,
        oversubscription=oversubscription,
        torus_axes=axes,
        host_bytes_per_s=host_bytes_per_s,
    )
