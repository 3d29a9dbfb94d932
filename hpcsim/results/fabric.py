"""The tables of a fabric, as declared: what it is, what it is bought as, and its picture."""

from __future__ import annotations

from hpcsim.results.columns import Table
from hpcsim.results.columns import count_column as count
from hpcsim.results.columns import real_column as real
from hpcsim.results.columns import text_column as text

__all__ = ["FABRIC_TABLES"]

_FABRIC = Table(
    "fabric",
    "The network between the nodes: its shape in figures, one row.",
    (
        text("topology", "Registered topology."),
        text("design", "Catalog fabric that it follows.", null=True),
        text("link", "Catalog link, or the rate as it was written."),
        text("routing", "Which way flows take."),
        count("nodes", "Nodes that are joined, spares included."),
        count("switches", "Switches of all levels."),
        count("cables", "Cables, those of storage included."),
        count("diameter", "Links between the two nodes that are farthest apart.", null=True),
        real("bytes_per_s", "B/s", "Rate of one port of a node, one way."),
        real("bisection_bytes_per_s", "B/s", "Bandwidth one way between the halves of the nodes.", null=True),
        real("oversubscription", "1", "What the nodes can send over what the fabric can carry upwards, at the worst level."),
        real("power_w", "W", "Power of all parts whose power is known.", null=True),
        real("price_usd", "USD", "List price of all parts whose price is known; not part of the costs.", null=True),
        text("unpriced", "Parts whose price is not known.", null=True),
    ),
)

_PARTS = Table(
    "fabric_parts",
    "What the network is bought as: switches, cables, transceivers, counted in closed form.",
    (
        text("part", "Kind of part.", values=("switch", "cable", "transceiver")),
        text("item", "Which one: the switch of the link, a catalog transceiver, copper or fibre."),
        text("tier", "Level of the switches, or tier of the cables."),
        count("count", "How many."),
        real("bytes_per_s", "B/s", "Rate of one, one way.", null=True),
        real("each_w", "W", "Power of one.", null=True),
        real("power_w", "W", "Power of all.", null=True),
        real("each_usd", "USD", "List price of one.", null=True),
        real("price_usd", "USD", "List price of all.", null=True),
    ),
)

_MAP = Table(
    "fabric_map",
    "The cables that the picture of the fabric shows: all of a small one, one part of a large one.",
    (
        text("a", "One end, as the graph names it."),
        text("b", "The other end."),
        count("a_level", "Level of the first end: 0 for nodes, then that of the switch."),
        count("b_level", "Level of the second end."),
        text("a_part", "Part of the machine that the first end belongs to: its group, leaf or row.", null=True),
        text("b_part", "Part of the machine that the second end belongs to.", null=True),
        text("tier", "Tier of the cables."),
        count("cables", "Cables between the two ends."),
        real("bytes_per_s", "B/s", "Bandwidth of them all, one way."),
        real("load_frac", "1", "Share of it that is used, the fuller way, where traffic is known.", null=True),
    ),
)

_FLOWS = Table(
    "flows",
    "Flows through the fabric, one row each.",
    (
        text("flow", "Name of the flow."),
        text("source", "Where it comes from."),
        text("target", "Where it goes."),
        real("size_bytes", "B", "What it carries."),
        real("start_s", "s", "When it starts."),
        real("end_s", "s", "When its last byte arrives."),
        count("links", "Links on its way; on the longest of its ways where it goes over several."),
        real("alone_bytes_per_s", "B/s", "Rate that its narrowest links would give it alone, all its ways together."),
        real("rate_bytes_per_s", "B/s", "Its size over the time that it takes."),
    ),
)

_LINK_USE = Table(
    "link_use",
    "Use of the links that carried most over time, in equal intervals, where flows are written down.",
    (
        text("link", "From where to where; see the table links."),
        text("kind", "Which part of the fabric it belongs to."),
        real("start_s", "s", "Begin of the interval."),
        real("end_s", "s", "Its end."),
        real("utilisation_frac", "1", "What it carried over what it could have carried in the interval."),
    ),
)

FABRIC_TABLES = (_FABRIC, _PARTS, _MAP, _FLOWS, _LINK_USE)
