"""Every file, every entry, every value: form, source, plausible range, and agreement with the entries it refers to."""

from __future__ import annotations

import csv
import re
import statistics
from itertools import pairwise

import pytest
import yaml

from hpcsim.catalog.entries import Entry, unit_of
from hpcsim.catalog.files import DATA, KINDS, Index
from hpcsim.catalog.lookup import Catalog

CATALOG = Catalog()
ENTRIES = [(kind, name) for kind in KINDS for name in CATALOG.names(kind) if kind != "carbon" or not re.search(r"-lifecycle$", name)]
KINDS_OF_SOURCE = {"read", "remembered", "derived", "measured"}


def entry(kind: str, name: str) -> Entry:
    return CATALOG.find(kind, name)


def raw(kind: str) -> dict:
    return yaml.load((DATA / f"{KINDS[kind].plural}.yaml").read_text(encoding="utf-8"), Loader=yaml.CBaseLoader)


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_of_every_file_has_the_declared_form(kind: str) -> None:
    names = CATALOG.names(kind)
    assert len(names) >= 10 or kind == "software"  # filled by overlays alone
    for name in names:
        found = entry(kind, name)
        assert found.id == name
        assert found.title, f"{kind}/{name} has no title"
        assert re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name), f"{kind}/{name} is no canonical name"


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_has_a_source_and_remembered_ones_say_so(kind: str) -> None:
    seen = 0
    for name in CATALOG.names(kind):
        for fact in entry(kind, name).facts():
            seen += 1
            assert fact.kind in KINDS_OF_SOURCE, f"{kind}/{name}.{fact.field} has no source"
            assert len(fact.source) > 5
            assert ("unverified" in fact.source) == (fact.kind == "remembered")
            assert "@" not in re.sub(r"@[0-9a-f]{7,10}\b", "", fact.source), (
                f"{kind}/{name}.{fact.field}: open reference in {fact.source!r}"
            )
    assert seen > len(CATALOG.names(kind)) or kind == "software"


@pytest.mark.parametrize("kind", KINDS)
def test_sources_name_fields_that_the_entry_has_and_each_once(kind: str) -> None:
    for name, body in raw(kind)["entries"].items():
        found = entry(kind, name)
        keys = [key.strip() for joined in body["sources"] for key in joined.split(",")]
        assert len(keys) == len(set(keys)), f"{kind}/{name} gives a source twice"
        for key in keys:
            head, _, item = key.partition(".")
            assert key == "all" or head in body or kind == "node", f"{kind}/{name}: a source for {key}, which is not given"
            if head != "all" and head in body:
                attribute = found.field_named(head)
                assert attribute is not None
                if item:
                    assert item in getattr(found, attribute)


@pytest.mark.parametrize("kind", KINDS)
def test_every_reference_is_declared_and_used(kind: str) -> None:
    text = (DATA / f"{KINDS[kind].plural}.yaml").read_text(encoding="utf-8")
    declared = set(raw(kind).get("references", {}))
    cited = set(re.findall(r"@([\w-]+)", text.partition("\nentries:")[2] + str(raw(kind).get("row_sources", ""))))
    if kind == "carbon":
        cited |= {row["source"] for row in rows("carbon_intensity.csv")}
    if kind == "reliability":
        cited |= {"spot-advisor"}
    assert declared == {name for name in cited if not re.fullmatch(r"[0-9a-f]{7,10}", name)}


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_entries_share_a_name(kind: str) -> None:
    """Cloud regions alone may differ in punctuation only (AWS us-east-1, Google us-east1); such a name must then be written exactly."""
    clashes = Index(KINDS[kind]).collisions()
    if kind != "carbon":
        assert clashes == {}
    for owners in clashes.values():
        assert {name.split("-")[0] for name in owners} == {"aws", "gcp"}


def test_no_data_file_is_left_over() -> None:
    known = {f"{kind.plural}.yaml" for kind in KINDS.values()} | {
        "carbon_intensity.csv",
        "cloud_prices.csv",
        "spot_interruption.csv",
        "places.csv",
    }
    assert {path.name for path in DATA.iterdir() if path.is_file()} == known


# --- plausible ranges: (lowest, highest) of any device, link or system that was ever sold
RANGES = {
    ("accelerator", "peak_flop_per_s"): (1e11, 2e17),
    ("accelerator", "measured_matmul_flop_per_s"): (1e13, 1e16),
    ("accelerator", "memory_bytes"): (4e9, 1e12),
    ("accelerator", "memory_bytes_per_s"): (5e10, 2.5e16),
    ("accelerator", "tdp_w"): (50, 25e3),
    ("accelerator", "idle_w"): (5, 500),
    ("accelerator", "scale_up_bytes_per_s"): (3e10, 4e12),
    ("accelerator", "price_usd"): (1000, 3e6),
    ("accelerator", "compute_units"): (10, 400),
    ("accelerator", "clock_hz"): (1e9, 4e9),
    ("link", "bytes_per_s"): (1e8, 2e12),
    ("link", "latency_s"): (5e-8, 1e-3),
    ("link", "hop_s"): (5e-8, 1e-5),
    ("link", "efficiency_frac"): (0.3, 1),
    ("link", "switch_w"): (100, 5000),
    ("link", "round_trip_s"): (1e-4, 0.4),
    ("storage", "read_bytes_per_s"): (1e8, 5e13),
    ("storage", "write_bytes_per_s"): (1e8, 5e13),
    ("storage", "capacity_bytes"): (1e12, 1e18),
    ("storage", "latency_s"): (1e-8, 120),
    ("storage", "price_usd_per_byte"): (1e-12, 1e-9),
    ("node", "max_w"): (500, 150e3),
    ("node", "base_idle_w"): (100, 3000),
    ("node", "base_max_w"): (300, 40e3),
    ("node", "price_usd"): (5e4, 5e6),
    ("node", "hourly_usd_per_s"): (0.5 / 3600, 300 / 3600),
    ("node", "memory_bytes"): (1e11, 4e12),
    ("system", "power_w"): (1e6, 5e7),
    ("electricity", "industrial_usd_per_j"): (0.02 / 3.6e6, 0.5 / 3.6e6),
    ("electricity", "commercial_usd_per_j"): (0.02 / 3.6e6, 0.5 / 3.6e6),
    ("electricity", "business_usd_per_j"): (0.02 / 3.6e6, 0.5 / 3.6e6),
    ("carbon", "carbon_kg_co2e_per_j"): (0.0, 1400 / 3.6e9),
    ("carbon", "embodied_kg_co2e"): (50, 1000),
    ("pue", "pue"): (1.0, 2.5),
    ("reliability", "annual_failure_frac"): (1e-4, 1),
    ("reliability", "effective_frac"): (0.3, 1),
}


@pytest.mark.parametrize(("kind", "field"), RANGES)
def test_values_are_plausible(kind: str, field: str) -> None:
    low, high = RANGES[kind, field]
    found = 0
    for name in CATALOG.names(kind):
        value = getattr(entry(kind, name), field)
        for item in value.values() if isinstance(value, dict) else [] if value is None else [value]:
            found += 1
            assert low <= item <= high, f"{kind}/{name}.{field} = {item:g}"
    assert found


def test_names_of_fields_carry_their_unit() -> None:
    suffix = {
        "B": "_bytes",
        "B/s": "_bytes_per_s",
        "FLOP/s": "_flop_per_s",
        "W": "_w",
        "J": "_j",
        "USD": "_usd",
        "s": "_s",
        "m": "_m",
        "1/s": "_hz",
    }
    suffix |= {
        "USD/s": "_usd_per_s",
        "USD/J": "_usd_per_j",
        "USD/B": "usd_per_byte",
        "USD/B/s": "_usd_per_byte_s",
        "kg": "_kg_co2e",
        "kg/J": "_kg_co2e_per_j",
    }
    exempt = {"bytes_per_parameter", "bytes_per_token", "bytes_per_s", "usd_per_s"}
    for kind in KINDS:
        for name, info in Index(KINDS[kind]).entry_class.model_fields.items():
            unit = unit_of(info.annotation) or next((unit_of(m) for m in info.metadata if unit_of(m)), "")
            assert not unit or name in exempt or name.endswith(suffix[unit]), f"{kind}.{name} is in {unit}"
            assert info.description, f"{kind}.{name} has no description"


ACCELERATORS = [CATALOG.accelerator(name) for name in CATALOG.names("accelerator")]

BF16_UNLIKE_FP16 = {"mi100": "bf16 runs at half the fp16 rate on CDNA 1"}


@pytest.mark.parametrize("device", ACCELERATORS, ids=lambda d: d.id)
def test_peaks_grow_as_formats_narrow(device) -> None:
    peak = device.peak_flop_per_s
    ladder = [p for p in ("fp64", "fp32", "tf32", "bf16", "fp8", "fp6", "fp4") if p in peak]
    for wide, narrow in pairwise(ladder):
        assert peak[wide] <= peak[narrow], f"{device.id}: {wide} is faster than {narrow}"
    for scalar, tensor in (("fp64", "fp64_tensor"), ("fp32", "fp32_tensor")):
        assert peak.get(scalar, 0) <= peak.get(tensor, float("inf"))
    if "bf16" in peak and "fp16" in peak:
        assert (peak["bf16"] == peak["fp16"]) != (device.id in BF16_UNLIKE_FP16)


@pytest.mark.parametrize("device", ACCELERATORS, ids=lambda d: d.id)
def test_devices_are_consistent_in_themselves(device) -> None:
    assert device.peak_flop_per_s
    if device.idle_w and device.tdp_w:
        assert device.idle_w < device.tdp_w / 2
    if device.mean_power_w:
        assert (device.idle_w or 0) < device.mean_power_w < device.tdp_w
    for precision, rate in device.measured_matmul_flop_per_s.items():
        assert 0.45 < rate / device.peak_flop_per_s[precision] < 1
    if device.category == "cpu":
        derived = device.cores * device.clock_hz * device.flop_per_cycle
        assert device.peak_flop_per_s["fp64"] == pytest.approx(derived, rel=0.002)


# A part of a link's bandwidth only: the device has fewer of its lanes.
FEWER_LANES = {
    "h800-sxm": "export variant with 400 GB/s both ways",
    "a800-sxm-80gb": "export variant with 400 GB/s both ways",
    "mi250": "six Infinity Fabric links of 50 GB/s to other packages",
    "a100-custom-64gb": "four links of twelve to each of three peers at 200 GB/s",
}


@pytest.mark.parametrize("device", [d for d in ACCELERATORS if d.scale_up_link], ids=lambda d: d.id)
def test_scale_up_bandwidth_is_that_of_the_link_one_way(device) -> None:
    link = CATALOG.link(device.scale_up_link)
    assert link.category == "scale-up"
    if device.id in FEWER_LANES:
        assert device.scale_up_bytes_per_s < link.bytes_per_s
    else:
        assert device.scale_up_bytes_per_s == link.bytes_per_s
    if link.link_bytes_per_s:
        assert link.bytes_per_s == pytest.approx(link.links * link.link_bytes_per_s)
    if device.peer_bytes_per_s:
        assert device.peer_bytes_per_s < device.scale_up_bytes_per_s


def test_links_are_one_way() -> None:
    """The rates that makers print for both ways together are twice these: NVLink 4 900 GB/s, PCIe 5 x16 about 128 GB/s."""
    assert CATALOG.link("nvlink-4").bytes_per_s * 2 == 900e9
    assert CATALOG.link("nvlink-5").bytes_per_s * 2 == 1800e9
    assert CATALOG.link("pcie-5-x16").bytes_per_s * 2 < 128e9
    for name in CATALOG.names("link"):
        link = CATALOG.link(name)
        if link.measured_bytes_per_s:
            assert 0.5 * link.bytes_per_s < link.measured_bytes_per_s <= link.bytes_per_s
        if link.measured_duplex_bytes_per_s:
            assert link.measured_duplex_bytes_per_s <= 2 * link.bytes_per_s
        for rate in link.allreduce_bytes_per_s.values():
            assert rate <= 1.1 * link.bytes_per_s  # reduction inside the switch can exceed a ring's bound
        if link.nics and link.node_bytes_per_s:
            assert link.node_bytes_per_s == pytest.approx(link.nics * link.bytes_per_s)
        if link.signalling_bytes_per_s:
            assert link.bytes_per_s < link.signalling_bytes_per_s


REFERS = [
    ("accelerator", "scale_up_link", "link"),
    ("accelerator", "host_link", "link"),
    ("node", "accelerator", "accelerator"),
    ("node", "scale_up_link", "link"),
    ("node", "nic", "link"),
    ("node", "storage", "storage"),
    ("node", "power_as", "node"),
    ("system", "accelerator", "accelerator"),
    ("system", "node", "node"),
    ("system", "nic", "link"),
    ("system", "storage", "storage"),
    ("price", "accelerator", "accelerator"),
    ("power", "accelerator", "accelerator"),
    ("power", "node", "node"),
    ("reliability", "accelerator", "accelerator"),
]


@pytest.mark.parametrize(("kind", "field", "target"), REFERS)
def test_entries_refer_to_entries_by_canonical_name(kind: str, field: str, target: str) -> None:
    names = set(CATALOG.names(target))
    found = [getattr(entry(kind, name), field) for name in CATALOG.names(kind)]
    flat = [n for value in found for n in (value if isinstance(value, tuple) else [value]) if n]
    assert flat
    assert set(flat) - names <= (ONLY_PRICED if kind == "price" else set())


@pytest.mark.parametrize("name", CATALOG.names("node"))
def test_nodes_are_consistent_in_themselves(name: str) -> None:
    node = CATALOG.node(name)
    if node.domain:
        assert node.domain >= node.accelerators
    if node.node_bytes_per_s and node.nic and node.nics:
        assert node.node_bytes_per_s == pytest.approx(node.nics * CATALOG.link(node.nic).bytes_per_s)
    if node.base_max_w and node.base_idle_w:
        assert node.base_idle_w < node.base_max_w
    if node.max_w and node.accelerator and CATALOG.accelerator(node.accelerator).tdp_w:
        devices = node.accelerators * CATALOG.accelerator(node.accelerator).tdp_w
        assert devices < node.max_w
        # The base is what the devices leave of the rated power, or less where training was measured below it.
        assert node.base_max_w == pytest.approx(node.max_w - devices, abs=1) or name == "gb300-nvl72"
        assert node.base_max_w <= node.max_w - devices + 1
    if node.power_as:
        twin = CATALOG.node(node.power_as)
        assert twin.accelerator == node.accelerator
        assert twin.accelerators == node.accelerators


def test_derived_base_power_follows_from_the_measurements_it_names() -> None:
    a100, h100 = CATALOG.node("dgx-a100-80gb"), CATALOG.node("dgx-h100")
    assert a100.base_idle_w == a100.measured_w["idle"] - 8 * CATALOG.accelerator("a100-sxm-80gb").idle_w
    assert h100.base_max_w == h100.max_w - 8 * CATALOG.accelerator("h100-sxm").tdp_w
    assert h100.base_idle_w == h100.measured_w["idle"] - 8 * CATALOG.accelerator("h100-sxm").idle_w
    parts = CATALOG.power("frontier-node").parts_w
    frontier = CATALOG.node("frontier-node")
    rest = parts["memory"] + 4 * parts["nic"] + parts["nvme"]
    assert frontier.base_idle_w == pytest.approx(parts["cpu-idle"] + rest)
    assert frontier.base_max_w == pytest.approx(parts["cpu-max"] + rest)
    assert frontier.max_w == pytest.approx(frontier.base_max_w + 4 * parts["gpu-max"])
    # 626.26 W idle and 2704.26 W at most, as the ExaDigiT model of Frontier has it
    assert frontier.base_idle_w + 4 * parts["gpu-idle"] == pytest.approx(626.26)


def test_idle_rules_follow_from_the_entries() -> None:
    rule = CATALOG.power("idle-share")
    for category in ("gpu", "tpu", "fpga", "asic"):
        shares = [d.idle_w / d.tdp_w for d in ACCELERATORS if d.category == category and d.idle_w and d.tdp_w]
        assert rule.idle_share_frac[category] == pytest.approx(statistics.median(shares), abs=5e-4)
    parts = CATALOG.power("frontier-node").parts_w
    assert rule.idle_share_frac["cpu"] == pytest.approx(parts["cpu-idle"] / parts["cpu-max"], abs=5e-4)
    node = CATALOG.node("dgx-a100-80gb")
    assert rule.base_idle_share_frac == pytest.approx(node.base_idle_w / node.max_w, abs=5e-4)


def test_percentiles_rise() -> None:
    found = 0
    for name in CATALOG.names("power"):
        values = list(CATALOG.power(name).percentiles_w.items())
        found += bool(values)
        assert [int(p) for p, _ in values] == sorted(int(p) for p, _ in values)
        assert [w for _, w in values] == sorted(w for _, w in values)
    assert found == 4


def test_llama3_failures_add_up() -> None:
    """Table 5 of the Llama 3 paper: 419 unexpected interruptions in 54 days on 16384 GPUs."""
    run = CATALOG.reliability("llama3-405b")
    assert sum(run.causes.values()) == run.interruptions == 419
    assert run.mean_time_to_interrupt_s["16384"] == pytest.approx(run.length_s / 419, rel=1e-4)
    assert run.accelerator_mtbf_s == pytest.approx(run.length_s * 16384 / 419, rel=1e-4)
    nodes = run.accelerators / 8
    assert run.failures_per_1000_node_days == pytest.approx(419 / (nodes * 54 / 1000), rel=1e-3)
    assert run.node_mtbf_s == pytest.approx(1000 * 86400 / run.failures_per_1000_node_days)
    years = 54 / 365
    gpu = sum(
        run.causes[c]
        for c in ("faulty-gpu", "gpu-hbm3", "gpu-sram", "gpu-system-processor", "gpu-thermal-sensor", "silent-data-corruption")
    )
    for name, events, units in (
        ("gpu-h100", gpu, 16384),
        ("nic", 7, 16384),
        ("network", 35, 16384),
        ("psu", 3, 2048),
        ("sdc-gpu", 6, 16384),
    ):
        assert CATALOG.reliability(name).annual_failure_frac == pytest.approx(events / units / years, rel=5e-3)


def test_bloom_carbon_adds_up() -> None:
    """Luccioni et al.: 24.7 t of dynamic, 14.6 t of idle and 11.2 t of embodied carbon; 433 MWh at 57 g/kWh."""
    run = CATALOG.find("carbon", "bloom-training")
    assert run.dynamic_kg_co2e == pytest.approx(run.dynamic_j * run.carbon_kg_co2e_per_j, rel=1e-3)
    assert run.idle_kg_co2e == pytest.approx(run.idle_j * run.carbon_kg_co2e_per_j, rel=3e-3)
    assert run.total_kg_co2e == pytest.approx(run.dynamic_kg_co2e + run.idle_kg_co2e + run.run_embodied_kg_co2e)
    # 1,082,990 GPU-hours at the 400 W that an A100 is rated
    assert run.dynamic_j == pytest.approx(run.accelerator_s * CATALOG.accelerator("a100-sxm-80gb").tdp_w, rel=1e-6)


# Devices of which no more is known than what an hour costs
ONLY_PRICED = {"a10g", "gaudi1", "inferentia1", "radeon-pro-v520", "rtx-6000", "rtx-a6000", "t4g", "vu9p"}


def test_long_tables_hold_catalog_names_and_sane_numbers() -> None:
    prices = rows("cloud_prices.csv")
    assert len(prices) > 1000
    sold = {row["accelerator"] for row in prices} - {""}
    assert sold - set(CATALOG.names("accelerator")) == ONLY_PRICED
    sources = set(raw("price")["row_sources"])
    for row in prices:
        assert row["source"] in sources
        assert (row["spot_source"] in sources) == bool(row["spot"])
        count = float(row["accelerators"] or 0)
        assert (count > 0) == bool(row["accelerator"])
        for term in ("on_demand", "one_year", "three_year", "spot"):
            assert not row[term] or 0 < float(row[term]) < 60 * (count or 1)
        if row["spot"]:
            assert float(row["spot"]) <= float(row["on_demand"])
    for row in rows("spot_interruption.csv"):
        assert 0 <= float(row["low"]) <= 0.2
        assert not row["high"] or float(row["high"]) - float(row["low"]) == pytest.approx(0.05)
        assert -1 < float(row["saving"]) < 1  # a few spot prices were above the on-demand price
