"""Entries on hardware: accelerators, links, storage, node types and whole systems."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hpcsim.catalog.entries import Entry, Listed, Money, Number, Size, Span, Whole
from hpcsim.scenario.fields import Frozen, Quantity, Share

__all__ = ["Accelerator", "FabricDesign", "Link", "Node", "Storage", "System"]

Rate = Annotated[float, Quantity("compute rate")]
Bandwidth = Annotated[float, Quantity("data rate")]
Power = Annotated[float, Quantity("power", zero=True)]
Seconds = Annotated[float, Quantity("time", zero=True)]
Precision = Literal[
    "fp64", "fp64_tensor", "fp32", "fp32_tensor", "tf32", "bf16", "fp16", "fp8", "mxfp8", "fp6", "fp4", "nvfp4", "int8", "bfp"
]
Year = Annotated[int, Field(ge=1990, le=2040)]


class Accelerator(Entry):
    """A device that computes: GPU, TPU, FPGA, other ASIC, or a CPU socket.

    Peak rates are dense (no structured sparsity); integer rates count operations as FLOP. ``*_tensor`` is the rate of matrix units.
    """

    catalog_kind: ClassVar[str] = "accelerator"

    vendor: str = Field("", description="maker")
    category: Literal["gpu", "tpu", "fpga", "cpu", "asic", "quantum"] = Field(description="kind of device")
    availability: Literal["available", "announced"] = Field("available", description="whether it can be had")
    release_year: Year | None = Field(None, description="year of first shipment")
    peak_flop_per_s: Annotated[dict[Precision, Rate], Frozen] = Field(
        default_factory=dict, alias="peak", description="dense peak rate by precision"
    )
    measured_matmul_flop_per_s: Annotated[dict[Precision, Rate], Frozen] = Field(
        default_factory=dict, alias="matmul", description="best rate of a large matrix product that was measured, by precision"
    )
    memory_efficiency_frac: Span | None = Field(
        None, alias="memory_efficiency", description="share of the memory bandwidth that streaming kernels reach, measured or fitted"
    )
    attention_efficiency_frac: Span | None = Field(
        None, alias="attention_efficiency", description="rate of a fused attention kernel over a large matrix product's, measured or fitted"
    )
    memory_bytes: Size | None = Field(None, alias="memory", description="device memory")
    memory_bytes_per_s: Bandwidth | None = Field(None, alias="memory_bandwidth", description="bandwidth of the device memory")
    tdp_w: Power | None = Field(None, alias="tdp", description="thermal design power")
    idle_w: Power | None = Field(None, alias="idle", description="power when idle")
    mean_power_w: Power | None = Field(None, alias="mean_power", description="mean power in use, where a fleet was measured")
    scale_up_link: str | None = Field(None, description="catalog link that joins the devices of a node or pod")
    scale_up_bytes_per_s: Bandwidth | None = Field(None, alias="scale_up", description="scale-up bandwidth of one device, one way")
    peer_bytes_per_s: Bandwidth | None = Field(
        None, alias="peer", description="bandwidth between two peers, one way, where it is less than scale_up"
    )
    torus: Listed[int] = Field((), description="sizes of the largest torus of devices")
    host_link: str | None = Field(None, description="catalog link to the host")
    compute_units: Whole | None = Field(None, description="streaming multiprocessors, compute units or cores that tiles are spread over")
    cores: Whole | None = Field(None, description="processor cores of a CPU, TensorCores of a TPU")
    clock_hz: Annotated[float, Quantity("frequency")] | None = Field(None, alias="clock", description="base clock")
    flop_per_cycle: Whole | None = Field(None, description="fp64 operations of one core in a cycle")
    price_usd: Money | None = Field(None, alias="price", description="price of one device")
    price_date: str | None = Field(None, description="date of the price")
    price_basis: str | None = Field(None, description="list, street, or how it was derived")


class Link(Entry):
    """A link, a network port, a cloud fabric, or a component of one. All bandwidths are one way."""

    catalog_kind: ClassVar[str] = "link"

    category: Literal["scale-up", "host", "infiniband", "ethernet", "proprietary", "cloud", "component", "wan"] = Field(
        description="kind of link"
    )
    availability: Literal["available", "announced"] = Field("available", description="whether it can be had")
    year: Year | None = Field(None, description="year of introduction")
    bytes_per_s: Bandwidth | None = Field(
        None, alias="bandwidth", description="one way: of one device (scale-up), one port (network), sixteen lanes (PCIe)"
    )
    signalling_bytes_per_s: Bandwidth | None = Field(None, alias="signalling", description="line rate before encoding")
    links: Whole | None = Field(None, description="links of one device")
    link_bytes_per_s: Bandwidth | None = Field(None, alias="link_bandwidth", description="one of those links")
    peer_bytes_per_s: Bandwidth | None = Field(None, alias="peer", description="between two peers, where it is less than the sum")
    domain: Whole | None = Field(None, description="devices that share the link or its switches")
    nics: Whole | None = Field(None, description="ports of a node (cloud fabrics)")
    node_bytes_per_s: Bandwidth | None = Field(None, alias="node_bandwidth", description="injection bandwidth of a node")
    latency_s: Seconds | None = Field(None, alias="latency", description="one-way time of a small message between two nodes or devices")
    tcp_latency_s: Seconds | None = Field(None, alias="tcp_latency", description="the same over TCP")
    adapter_latency_s: Seconds | None = Field(None, alias="adapter_latency", description="share of the adapters")
    hop_s: Seconds | None = Field(None, alias="hop", description="latency of one switch or one torus hop")
    efficiency_frac: Span | None = Field(None, alias="efficiency", description="achieved share of the bandwidth in a large transfer")
    measured_bytes_per_s: Bandwidth | None = Field(
        None, alias="measured", description="bandwidth of a large one-way transfer that was measured"
    )
    measured_duplex_bytes_per_s: Bandwidth | None = Field(None, alias="measured_duplex", description="both ways at once, summed")
    allreduce_bytes_per_s: Annotated[dict[Literal["ring", "nvls", "any"], Bandwidth], Frozen] = Field(
        default_factory=dict, alias="allreduce", description="bus bandwidth of a large all-reduce that was measured, by algorithm"
    )
    allreduce_devices: Whole | None = Field(None, description="devices of that all-reduce")
    collective_efficiency_frac: Span | None = Field(
        None, alias="collective_efficiency", description="achieved share in collectives, fitted"
    )
    sustained_frac: Span | None = Field(
        None, alias="sustained", description="share of the bandwidth that large collectives reach on one's own machine"
    )
    collective_latency_s: Seconds | None = Field(None, alias="collective_latency", description="latency of a collective's step, fitted")
    startup_s: Seconds | None = Field(None, alias="startup", description="start-up of a collective call on one's own machine")
    step_latency_s: Seconds | None = Field(None, alias="step_latency", description="latency of a step of a small collective there")
    pipelining: Annotated[float, Share(0.0, 100.0)] | None = Field(None, description="κ of the rise of large collectives there")
    low_latency_bytes_per_s: Bandwidth | None = Field(
        None, alias="low_latency_rate", description="rate of the low-latency protocol there: on the bus, or of one hop of a network"
    )
    in_switch_frac: Span | None = Field(
        None, alias="in_switch", description="share of the bandwidth that links carry there when the switch sums"
    )
    switch: str | None = Field(None, description="switch that goes with it")
    switch_ports: Whole | None = Field(None, description="ports of that switch")
    switch_bytes_per_s: Bandwidth | None = Field(None, alias="switch_bandwidth", description="capacity of that switch or switch domain")
    switch_idle_w: Power | None = Field(None, alias="switch_idle", description="power of an idle switch")
    switch_w: Power | None = Field(None, alias="switch_power", description="typical power of a switch")
    switch_max_w: Power | None = Field(None, alias="switch_max", description="highest power of a switch")
    switch_price_usd: Money | None = Field(None, alias="switch_price", description="price of a switch")
    max_endpoints: Whole | None = Field(None, description="endpoints that one fabric can have")
    power_w: Power | None = Field(None, alias="power", description="power of the component")
    price_usd: Money | None = Field(None, alias="price", description="price of the component")
    round_trip_s: Seconds | None = Field(None, alias="round_trip", description="round-trip time of a WAN path")
    reach_m: Annotated[float, Quantity("length")] | None = Field(None, alias="reach", description="longest distance")


class Storage(Entry):
    """A storage device, a node's local storage, a shared file system, an object store, or a rule about stored data."""

    catalog_kind: ClassVar[str] = "storage"

    category: Literal["device", "node-local", "file-system", "object-store", "cloud-volume", "rule"] = Field(description="kind of storage")
    system: str | None = Field(None, description="product, such as Lustre")
    read_bytes_per_s: Bandwidth | None = Field(None, alias="read", description="read bandwidth")
    write_bytes_per_s: Bandwidth | None = Field(None, alias="write", description="write bandwidth")
    sustained_bytes_per_s: Bandwidth | None = Field(None, alias="sustained", description="sustained bandwidth")
    client_bytes_per_s: Bandwidth | None = Field(None, alias="client", description="most that one client or connection gets")
    server_bytes_per_s: Bandwidth | None = Field(None, alias="server", description="read bandwidth of one server")
    read_iops: Whole | None = Field(None, description="random reads in a second")
    write_iops: Whole | None = Field(None, description="random writes in a second")
    reads_per_s: Whole | None = Field(None, description="GET requests in a second (of one prefix)")
    writes_per_s: Whole | None = Field(None, description="PUT requests in a second (of one prefix)")
    latency_s: Seconds | None = Field(None, alias="latency", description="time to the first byte")
    latency_high_s: Seconds | None = Field(None, alias="latency_high", description="upper end of its usual range")
    capacity_bytes: Size | None = Field(None, alias="capacity", description="usable capacity")
    raw_bytes: Size | None = Field(None, alias="raw", description="capacity before redundancy")
    usable_frac: Span | None = Field(None, alias="usable", description="share of the capacity that can be filled")
    replicas: Whole | None = Field(None, description="copies of each block")
    devices: Whole | None = Field(None, description="drives")
    servers: Whole | None = Field(None, description="storage servers")
    clients: Whole | None = Field(None, description="clients of the measurement")
    idle_w: Power | None = Field(None, alias="idle", description="power when idle")
    active_w: Power | None = Field(None, alias="active", description="power in use")
    price_usd_per_byte: Annotated[float, Quantity("price of data")] | None = Field(None, alias="price", description="purchase price")
    rent_usd_per_byte_s: Annotated[float, Quantity("price of storage")] | None = Field(
        None, alias="rent", description="price of keeping a byte for a second"
    )
    rent_spot_usd_per_byte_s: Annotated[float, Quantity("price of storage")] | None = Field(
        None, alias="rent_spot", description="the same, spot"
    )
    rent_1_year_usd_per_byte_s: Annotated[float, Quantity("price of storage")] | None = Field(
        None, alias="rent_1_year", description="the same, committed for a year"
    )
    rent_3_year_usd_per_byte_s: Annotated[float, Quantity("price of storage")] | None = Field(
        None, alias="rent_3_year", description="the same, committed for three years"
    )
    write_price_usd: Money | None = Field(None, alias="write_price", description="price of one PUT request")
    read_price_usd: Money | None = Field(None, alias="read_price", description="price of one GET request")
    bytes_per_parameter: Size | None = Field(None, description="bytes stored for one parameter of a model")
    bytes_per_token: Size | None = Field(None, description="bytes stored for one token of text")
    written_bytes: Size | None = Field(None, alias="written", description="bytes of one write that was timed")
    written_in_s: Seconds | None = Field(None, alias="written_in", description="its time")


class Node(Entry):
    """A node type: a server, a rack-scale system, a TPU host, or a cloud instance.

    ``base`` means the node without its accelerators, so that a node's power is ``base`` plus that of its devices.
    """

    catalog_kind: ClassVar[str] = "node"

    category: Literal["server", "rack", "pod", "instance"] = Field("server", description="kind of node")
    vendor: str = Field("", description="maker or cloud provider")
    availability: Literal["available", "announced"] = Field("available", description="whether it can be had")
    accelerator: str | None = Field(None, description="catalog accelerator")
    accelerators: Whole = Field(0, description="accelerators of one node")
    domain: Whole | None = Field(None, description="accelerators that share the scale-up link; those of a node by default")
    scale_up_link: str | None = Field(None, description="catalog link between the accelerators; the accelerator's own by default")
    cpu: str | None = Field(None, description="processor")
    cpus: Whole | None = Field(None, description="processor sockets")
    cores: Whole | None = Field(None, description="processor cores of the node")
    vcpus: Whole | None = Field(None, description="virtual processors of an instance")
    memory_bytes: Size | None = Field(None, alias="memory", description="main memory")
    nic: str | None = Field(None, description="catalog link of the network ports")
    nics: Whole | None = Field(None, description="network ports that carry job traffic")
    node_bytes_per_s: Bandwidth | None = Field(None, alias="network", description="injection bandwidth, one way")
    storage: str | None = Field(None, description="catalog storage inside the node")
    local_bytes: Size | None = Field(None, alias="local", description="capacity of the local storage")
    devices_per_pod: Whole | None = Field(None, description="accelerators of the largest pod or rack that is built of the node")
    slice_counts: Literal["cores", "chips"] | None = Field(None, description="what the number in a TPU slice's name counts")
    max_w: Power | None = Field(None, alias="max", description="highest power of the whole node, as rated")
    base_max_w: Power | None = Field(None, alias="base_max", description="highest power without the accelerators")
    base_idle_w: Power | None = Field(None, alias="base_idle", description="idle power without the accelerators")
    power_as: str | None = Field(None, description="catalog node type whose power stands for this one's, which nobody publishes")
    measured_w: Annotated[dict[Literal["idle", "median", "mean", "p90", "p99", "max", "low", "high"], Power], Frozen] = Field(
        default_factory=dict, alias="measured", description="power of the whole node that was measured, by statistic"
    )
    price_usd: Money | None = Field(None, alias="price", description="purchase price of the node")
    price_date: str | None = Field(None, description="date of that price")
    hourly_usd_per_s: Annotated[float, Quantity("price per time")] | None = Field(
        None, alias="hourly", description="on-demand price of an instance"
    )
    spot_usd_per_s: Annotated[float, Quantity("price per time")] | None = Field(None, alias="spot", description="spot price of an instance")


class FabricDesign(Entry):
    """A published design of a network, with the keys that a scenario's fabric has; it grows with the nodes that it joins."""

    catalog_kind: ClassVar[str] = "fabric"

    topology: str = Field(description="registered topology")
    link: str = Field(description="catalog link of the nodes' ports")
    per_node: Whole = Field(description="ports of a node")
    routing: str | None = Field(None, description="which way flows take")
    radix: Whole | None = Field(None, description="ports of a switch")
    oversubscription: Number | None = Field(None, description="capacity down over capacity up of a leaf switch")
    rails: Whole | None = Field(None, description="leaf switches that a node's ports are spread over")
    planes: Whole | None = Field(None, description="separate networks that a node's ports are spread over")
    taper: Listed[Number] = Field((), description="capacity down over capacity up of a switch, by level")
    rates_bytes_per_s: Listed[Bandwidth] = Field((), alias="rates", description="rate of one cable of each level, hosts first")
    down: Listed[int] = Field((), description="children of a switch by level; the top has as many as the nodes need, up to this")
    up: Listed[int] = Field((), description="parents of a node or switch, by level")
    parallel: Listed[int] = Field((), description="cables to each parent, by level")
    groups: Whole | None = Field(None, description="groups of the machine as it was built; as many are built as the nodes need")
    routers: Whole | None = Field(None, description="switches of a dragonfly's group")
    spines: Whole | None = Field(None, description="spine switches of a dragonfly+'s group")
    hosts: Whole | None = Field(None, description="nodes at a switch")
    local_cables: Whole | None = Field(None, description="cables between two switches of a group")
    global_cables: Whole | None = Field(None, description="cables between two groups")
    axes: Listed[int] = Field((), description="largest torus, in devices where block is given")
    wrap: Listed[bool] = Field((), description="whether each axis closes")
    block: Listed[int] = Field((), description="devices of a node along each axis")
    cube: Whole | None = Field(None, description="an axis closes where it is a multiple of this many devices")


class System(Entry):
    """A whole machine, or a fabric design: what is known of a real system."""

    catalog_kind: ClassVar[str] = "system"

    nodes: Whole | None = Field(None, description="nodes with accelerators (all nodes where there are none)")
    cpu_nodes: Whole | None = Field(None, description="further nodes without accelerators")
    spare_nodes: Whole | None = Field(None, description="spare nodes")
    cabinets: Whole | None = Field(None, description="cabinets or racks")
    node: str | None = Field(None, description="catalog node type")
    accelerator: str | None = Field(None, description="catalog accelerator")
    accelerators_per_node: Whole | None = Field(None, description="accelerators of one node")
    accelerators: Whole | None = Field(None, description="accelerators in all")
    cores: Whole | None = Field(None, description="cores as TOP500 counts them")
    nic: str | None = Field(None, description="catalog link of the network ports")
    nics: Whole | None = Field(None, description="network ports of a node")
    topology: str | None = Field(None, description="shape of the network")
    fabric: Annotated[dict[str, float | int], Frozen] = Field(default_factory=dict, description="numbers of the network's shape")
    storage: Listed[str] = Field((), description="catalog storage")
    rmax_flop_per_s: Rate | None = Field(None, alias="rmax", description="HPL result")
    rpeak_flop_per_s: Rate | None = Field(None, alias="rpeak", description="theoretical peak as TOP500 lists it")
    power_w: Power | None = Field(None, alias="power", description="power during HPL")
    top500_list: str | None = Field(None, description="TOP500 list of these figures")
    hpl_run_s: Seconds | None = Field(None, alias="hpl_run", description="length of the HPL run")
    achieved_flop_per_s: Rate | None = Field(None, alias="achieved", description="rate of one accelerator in a published training run")
