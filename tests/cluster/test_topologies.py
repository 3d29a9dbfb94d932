"""Shapes of the fabric: closed-form counts, derivation from a radix, refusals."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.cluster.parts import Fabric, FabricSize
from hpcsim.cluster.routing import router
from hpcsim.cluster.topologies import TOPOLOGIES, FatTree, FatTreeShape, Request, SingleSwitch, Wiring, fat_tree_shape
from hpcsim.scenario.cluster import ClusterSpec
from hpcsim.testing.topologies import check_routes, check_topology, sample_requests


def fabric(**values: object) -> Fabric:
    return Fabric(**{"topology": "fat-tree", "link": "test", "bytes_per_s": 1e9, "latency_s": 1e-6, **values})  # type: ignore[arg-type]


def code(error: pytest.ExceptionInfo[InputError]) -> str:
    return error.value.problems[0].code


def test_registry_has_both():
    assert {"single-switch", "fat-tree"} <= set(TOPOLOGIES.names())


@pytest.mark.parametrize("radix", [8, 16, 64])
@pytest.mark.parametrize("oversubscription", [0.5, 1.0, 2.0, 3.0])
def test_fat_tree_conforms(radix, oversubscription):
    f = fabric(radix=radix, oversubscription=oversubscription)
    assert check_topology(TOPOLOGIES.get("fat-tree"), sample_requests(f)) >= 2


def test_single_switch_conforms():
    assert check_topology(TOPOLOGIES.get("single-switch"), sample_requests(fabric(topology="single-switch"))) == 6


class Broken(FatTree):
    """Loses a cable of the last bundle."""

    def wire(self, request: Request) -> Wiring:
        wiring = super().wire(request)
        cables = wiring.cables.copy()
        cables[0] += 1
        return dataclasses.replace(wiring, cables=cables)


class Miscounting(SingleSwitch):
    def size(self, request: Request) -> FabricSize:
        return dataclasses.replace(super().size(request), switches=(2,))


@pytest.mark.parametrize("topology", [Broken(), Miscounting()])
def test_conformance_check_finds_planted_faults(topology):
    with pytest.raises(AssertionError):
        check_topology(topology, sample_requests(fabric(radix=16)))


def test_conformance_check_wants_a_served_request():
    with pytest.raises(AssertionError, match="at least one"):
        check_topology(FatTree(), [Request(fabric(radix=2), ((9, 3),))])


def test_k_ary_fat_tree_is_the_textbook_one():
    """A k-port folded Clos of three levels joins k³/4 hosts with 5k²/4 switches (Al-Fares et al., SIGCOMM 2008)."""
    for k in (4, 8, 16):
        shape = FatTreeShape((k // 2, k // 2, k), (1, k // 2, k // 2), (1, 1, 1))
        assert shape.room == k**3 // 4
        assert sum(shape.switches) == 5 * k * k // 4


def test_dgx_superpod_scalable_unit():
    """32 nodes with 8 ports fill 8 leaf switches of 64 ports: the leaf count of NVIDIA's published scalable unit (there by rail)."""
    shape = fat_tree_shape(32, 8, 64)
    assert shape.switches[0] == 8
    assert shape.switches == (8, 4)


@given(
    nodes=st.integers(1, 5000),
    ports=st.integers(1, 8),
    radix=st.integers(4, 128),
    oversubscription=st.floats(0.25, 8.0),
    storage=st.integers(0, 16),
)
def test_derived_tree_fits_its_switches(nodes, ports, radix, oversubscription, storage):
    try:
        shape = fat_tree_shape(nodes, ports, radix, oversubscription=oversubscription, storage_ports=storage)
    except InputError as error:
        problem = error.problems[0]
        assert problem.code == "radix-too-small"
        leaf = ports + math.ceil(ports / oversubscription)
        # a leaf takes at most 4/5 of its ports for uplinks (at 1:4), and one top switch more than that has the rest free
        assert leaf > radix or radix < 4 or ("storage" in problem.message and storage > radix - 4 * radix / 5 - 1)
        return
    assert shape.room >= nodes
    levels = len(shape.down)
    for i in range(levels):
        down = shape.down[i] * shape.parallel[i]
        up = shape.up[i + 1] * shape.parallel[i + 1] if i + 1 < levels else 0
        top_storage = math.ceil(storage / shape.switches[-1]) if i + 1 == levels else 0
        assert down + up + top_storage <= radix
        if i + 1 < levels:
            assert down <= up * (oversubscription if i == 0 else 1.0) * (1 + 1e-12)
    assert shape.up[0] == 1
    assert shape.parallel[0] == ports
    if levels > 1:
        assert nodes * ports + storage > radix, "more levels than needed"


def test_storage_that_finds_no_port_is_refused():
    assert fat_tree_shape(2, 1, 4, storage_ports=5).room >= 2
    with pytest.raises(InputError) as error:
        fat_tree_shape(2, 1, 4, storage_ports=50)
    assert "storage has 50 ports" in error.value.problems[0].message


def test_refused_radix_names_one_that_works():
    with pytest.raises(InputError) as error:
        fat_tree_shape(100, 8, 12)
    assert code(error) == "radix-too-small"
    assert "16" in error.value.problems[0].hint
    assert fat_tree_shape(100, 8, 16).room >= 100


@given(
    down=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    data=st.data(),
)
def test_counts_of_a_generalised_fat_tree(down, data):
    """Counts by hand: level l has Π(down above)·Π(up to l) switches, each with down·parallel cables from below."""
    levels = len(down)
    up = data.draw(st.lists(st.integers(1, 3), min_size=levels, max_size=levels))
    parallel = data.draw(st.lists(st.integers(1, 3), min_size=levels, max_size=levels))
    nodes = math.prod(down)
    f = fabric(down=tuple(down), up=tuple(up), parallel=tuple(parallel))
    request = Request(f, ((nodes, up[0] * parallel[0]),))
    wiring, size = FatTree().wire(request), FatTree().size(request)
    for level in range(1, levels + 1):
        switches = np.flatnonzero(wiring.levels == level) + nodes
        assert len(switches) == math.prod(down[level:]) * math.prod(up[:level]) == size.switches[level - 1]
        for switch in switches:
            assert wiring.cables[wiring.b == switch].sum() == down[level - 1] * parallel[level - 1]
            parents = wiring.b[wiring.a == switch]
            assert len(set(parents.tolist())) == (up[level] if level < levels else 0)
    assert size.cables[0] == nodes * up[0] * parallel[0]
    check_topology(FatTree(), [request])


@pytest.mark.parametrize(
    ("shape", "ports"),
    [
        ({"down": (4, 4), "up": (2, 2)}, ((4, 2), (4, 4))),
        ({"down": (4, 4), "up": (2, 2)}, ((3, 4), (2, 8), (3, 2))),
        ({"down": (4, 8), "up": (4, 2)}, ((5, 4), (2, 12))),
        ({"down": (8, 16), "up": (1, 4), "rails": 2}, ((2, 2), (3, 6))),
        ({"down": (8, 16), "up": (2, 4), "rails": 2}, ((4, 4), (4, 8))),
    ],
)
def test_routes_stay_on_their_plane_where_ports_are_unlike(shape, ports):
    """Under every routing, over a third node with more ports or fewer too."""
    request = Request(fabric(**shape), ports, (2,))
    check_topology(FatTree(), [request])
    nodes = sum(count for count, _ in ports)
    assert check_routes(FatTree(), request) == nodes * (nodes - 1)


@given(
    down=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    up=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    rails=st.sampled_from([1, 2]),
    part=st.floats(0.0, 1.0),
)
def test_what_lies_above_some_nodes_is_a_part_of_the_whole(down, up, rails, part):
    """The bundles above the first nodes are those of the whole wiring that can be reached upwards from them, under the same numbers."""
    shape = tuple([*down, 2] if rails == 2 else down)
    f = fabric(down=shape, up=tuple(up[: len(shape)] + [1] * (len(shape) - 3)), rails=rails)
    nodes = math.prod(shape) // rails
    request = Request(f, ((nodes, rails * up[0]),))
    first = max(1, round(part * nodes))
    whole, above = FatTree().wire(request), FatTree().wire_above(request, first)
    reached = set(range(first))
    for a, b in zip(whole.a.tolist(), whole.b.tolist()):  # level by level
        if a in reached:
            reached.add(b)
    rows = [(a, b, c) for a, b, c in zip(whole.a.tolist(), whole.b.tolist(), whole.cables.tolist()) if a in reached]
    assert list(zip(above.a.tolist(), above.b.tolist(), above.cables.tolist())) == rows
    assert above.levels.tolist() == whole.levels.tolist()
    assert above.switch_names() == whole.switch_names()


def test_every_node_reaches_every_top_switch():
    """In a generalised fat tree each top switch is the root of a tree over all nodes."""
    f = fabric(down=(2, 3, 2), up=(1, 2, 3))
    wiring = FatTree().wire(Request(f, ((12, 1),)))
    below = {v: {v} for v in range(12)}
    for a, b in zip(wiring.a.tolist(), wiring.b.tolist()):
        below.setdefault(b, set()).update(below[a])
    assert len(wiring.attach) == 6
    for top in wiring.attach.tolist():
        assert below[top] == set(range(12))


@pytest.mark.parametrize(
    ("values", "ports", "expected", "word"),
    [
        ({"down": (4, 2), "up": (1, 2)}, ((9, 1),), "fabric-too-small", "[4, 3]"),
        ({"down": (4, 3), "up": (2, 2)}, ((9, 3),), "fabric-ports", "up"),
        ({"down": (4, 3), "up": (1, 2), "parallel": (2, 1)}, ((9, 1),), "fabric-ports", "per_node: 2"),
        ({"down": (4, 3), "up": (1, 2), "radix": 5}, ((9, 1),), "radix-too-small", "lower"),
        ({}, ((9, 1),), "fat-tree-shape", "radix"),
        ({"radix": 2}, ((9, 1),), "radix-too-small", "at least 4"),
    ],
)
def test_impossible_fat_trees_are_refused(values, ports, expected, word):
    with pytest.raises(InputError) as error:
        FatTree().size(Request(fabric(**values), ports))
    assert code(error) == expected
    problem = error.value.problems[0]
    assert word in problem.hint
    assert problem.path.startswith("cluster.fabric")


def test_the_remedy_for_too_few_places_holds():
    with pytest.raises(InputError):
        FatTree().size(Request(fabric(down=(4, 2), up=(1, 2)), ((9, 1),)))
    assert FatTree().size(Request(fabric(down=(4, 3), up=(1, 2)), ((9, 1),))).switches == (3, 2)


def test_single_switch_holds_its_radix():
    f = fabric(topology="single-switch", radix=8)
    assert SingleSwitch().size(Request(f, ((3, 2),), (2,))).switches == (1,)
    with pytest.raises(InputError) as error:
        SingleSwitch().size(Request(f, ((3, 2),), (3,)))
    assert code(error) == "radix-too-small"


def test_switch_ports_of_the_link_stand_in_for_a_radix():
    request = Request(fabric(switch_ports=40), ((100, 1),))
    assert FatTree().shape(request) == fat_tree_shape(100, 1, 40)


@given(
    counts=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 4)), min_size=1, max_size=4),
    width=st.integers(1, 9),
)
def test_fullest_leaf_by_counting(counts, width):
    from hpcsim.cluster.trees import _fullest_leaf

    ports = [p for n, p in counts for _ in range(n)]
    expected = max(sum(ports[i : i + width]) for i in range(0, len(ports), width))
    assert _fullest_leaf(tuple(counts), width) == expected


@pytest.mark.parametrize("routing", ["minimal", "ecmp", "spray", "adaptive"])
@pytest.mark.parametrize(("cables", "groups"), [(2, 3), (2, 5), (4, 3)])
def test_all_cables_between_two_groups_are_used(routing: str, cables: int, groups: int) -> None:
    """Over all pairs of two groups every cable carries its part, in both directions; evenly where nothing is drawn by a hash."""
    spec = {
        "topology": "dragonfly",
        "link": "200 Gbit/s",
        "latency": "1 us",
        "routers": 4,
        "hosts": 2,
        "groups": groups,
        "global_cables": cables,
    }
    cluster = resolve(ClusterSpec.model_validate({"nodes": {"g": {"cores": 1, "count": 8 * groups}}, "fabric": spec}), default())
    found, nodes = router(cluster, routing), 8 * groups
    a, b = (axis.ravel() for axis in np.indices((nodes, nodes)))
    apart = a // 8 != b // 8
    paths = found.routes(a[apart], b[apart])
    load = np.bincount(paths.routes.links, np.repeat(paths.share, np.diff(paths.routes.first)), found.links.count)
    over = load[found.links.tier == found.links.tiers.index("global")]
    assert over.size == groups * (groups - 1) * cables
    mean = 64 / cables
    assert over.sum() >= mean * over.size
    assert (over > 0.4 * mean).all()
    if routing in ("minimal", "spray"):
        assert over == pytest.approx(np.full(over.size, mean))
