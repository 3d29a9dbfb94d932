"""Every built-in shape of a fabric under its name, and what plug-in authors need.

Other packages add shapes under the entry-point group ``hpcsim.topologies``; :func:`hpcsim.testing.topologies.check_topology` holds them to
the rules of :class:`Topology`.
"""

from __future__ import annotations

from hpcsim.cluster.dragonfly import Dragonfly, DragonflyPlus
from hpcsim.cluster.explicit import ExplicitLinks, GraphMl
from hpcsim.cluster.sites import Sites
from hpcsim.cluster.torus import FullMesh, Hypercube, Torus
from hpcsim.cluster.trees import FatTree, FatTreeShape, SingleSwitch, fat_tree_shape
from hpcsim.cluster.wiring import TOPOLOGIES, Request, Routed, Topology, Wiring, request_of

__all__ = [
    "TOPOLOGIES",
    "Dragonfly",
    "DragonflyPlus",
    "ExplicitLinks",
    "FatTree",
    "FatTreeShape",
    "FullMesh",
    "GraphMl",
    "Hypercube",
    "Request",
    "Routed",
    "SingleSwitch",
    "Sites",
    "Topology",
    "Torus",
    "Wiring",
    "fat_tree_shape",
    "request_of",
]

TOPOLOGIES.register("single-switch")(SingleSwitch())
TOPOLOGIES.register("star")(SingleSwitch())
TOPOLOGIES.register("fat-tree")(FatTree())
TOPOLOGIES.register("dragonfly")(Dragonfly())
TOPOLOGIES.register("dragonfly+")(DragonflyPlus())
TOPOLOGIES.register("torus")(Torus())
TOPOLOGIES.register("hypercube")(Hypercube())
TOPOLOGIES.register("full-mesh")(FullMesh())
TOPOLOGIES.register("links")(ExplicitLinks())
TOPOLOGIES.register("graphml")(GraphMl())
TOPOLOGIES.register("sites")(Sites())
