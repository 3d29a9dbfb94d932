"""The workload part of a scenario: training runs, job logs, decomposed tasks, matrix products, communication patterns, data pipelines and services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from hpcsim.base.errors import Problem, problem_kind
from hpcsim.scenario.cluster import Precision
from hpcsim.scenario.communication import CommunicationSpec
from hpcsim.scenario.elastic import ElasticSpec
from hpcsim.scenario.fields import Count, NamedMap, Quantity, Share, Spec, fail
from hpcsim.scenario.models import ModelSpec
from hpcsim.scenario.pipelines import PipelineSpec
from hpcsim.scenario.serving import ServingSpec

__all__ = [
    "CheckpointSpec",
    "DataSetsSpec",
    "JobsSpec",
    "LayoutSpec",
    "MatrixProductSpec",
    "ModelSpec",
    "PatternSpec",
    "ServingSpec",
    "SlackSpec",
    "SynchronySpec",
    "SyntheticSpec",
    "TaskSpec",
    "TraceSpec",
    "TrainingSpec",
    "WorkloadSpec",
]

EXACTLY_ONE = problem_kind("exactly-one", "exactly one of {keys} is needed; here {given}", "give exactly one of them")
EMPTY_WORKLOAD = problem_kind(
    "empty-workload", "the workload is empty", "give at least one of training, jobs, tasks, matrix_products, patterns, pipelines, serving"
)
EMPTY_LIST = problem_kind("empty-list", "the list is empty", "name at least one, or leave the key out")
NOT_GROUPS = problem_kind("groups-form", "{value!r} is no node group, list of groups, or all", "for example cpu, [cpu, gpu], all")
LAYOUT_TEXT = problem_kind("layout-text", "{value!r} is no layout", "'auto', or keys with values such as 'tp=8,pp=4,micro_batch=1'")


RECOMPUTE_SHARE = problem_kind(
    "recompute-share",
    "recompute_frac is a share of the layers that full recomputation is for, and recompute is {level}",
    "add recompute: full, or remove recompute_frac",
)
NOT_OF_MODE = problem_kind("synchrony-key", "{key} says nothing about the mode {mode}", "it belongs to: {modes}")
NOT_OF_PATTERN = problem_kind("pattern-key", "{key} says nothing about the pattern {kind}", "it belongs to: {kinds}")
MISSING_OF_PATTERN = problem_kind("pattern-missing", "the pattern {kind} needs {key}", "add {key}")
AXES = problem_kind("pattern-axes", "a grid of {count} axes is none for the pattern {kind}", "{least} to 3 axes")
MISSING_OF_MODE = problem_kind("synchrony-missing", "the mode {mode} needs {key}", "add {key}")


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        fail(EMPTY_LIST())
    return value


_GROUPS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "null"}]}


def _groups(value: Any) -> str | tuple[str, ...] | None:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        fail(NOT_GROUPS(value=value))
    return _some(tuple(value))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _exactly_one(given: Mapping[str, Any], *keys: str) -> Iterator[Problem]:
    found = [k for k in keys if k in given]
    if len(found) != 1:
        yield EXACTLY_ONE(keys=" or ".join(keys), given=" and ".join(found) or "none is given")


class LayoutSpec(Spec):
    """How a model and its batch are laid over the devices."""

    auto: bool = Field(False, description="let hpcsim choose the fastest layout that fits; keys that are given stay fixed")
    dp: Annotated[int, Count(1, 10_000_000)] | None = Field(None, description="data-parallel replicas; devices/(tp·pp·cp) by default")
    tp: Annotated[int, Count(1, 100_000)] | None = Field(None, description="tensor-parallel devices")
    pp: Annotated[int, Count(1, 100_000)] | None = Field(None, description="pipeline stages")
    vpp: Annotated[int, Count(1, 1000)] | None = Field(None, description="model chunks of a stage (interleaved schedule)")
    cp: Annotated[int, Count(1, 100_000)] | None = Field(None, description="context-parallel devices")
    ep: Annotated[int, Count(1, 100_000)] | None = Field(None, description="expert-parallel devices")
    etp: Annotated[int, Count(1, 100_000)] | None = Field(None, description="tensor-parallel devices inside an expert")
    micro_batch: Annotated[int, Count(1, 1_000_000)] | None = Field(None, description="sequences of a micro-batch")
    zero_stage: Annotated[int, Count(0, 3)] | None = Field(None, description="ZeRO stage: 0 none, 1 optimizer, 2 gradients, 3 weights")
    recompute: Literal["none", "selective", "full"] | None = Field(
        None, description="activations that are computed again in the backward pass"
    )
    sequence_parallel: bool | None = Field(None, description="activations outside the tensor-parallel blocks are split too")
    schedule: Literal["gpipe", "1f1b", "interleaved", "zb-h1", "zb-h2", "zb-v", "dualpipe"] | None = Field(
        None, description="pipeline schedule"
    )
    overlap: bool | None = Field(None, description="gradient reduction overlaps the backward pass")
    offload: bool = Field(False, description="optimizer states live in host memory")
    offload_weights: bool = Field(False, description="weights and gradients live in host memory and are streamed in and out")
    offload_activations: bool = Field(False, description="what layers keep for the backward pass waits in host memory")
    recompute_frac: Annotated[float, Share(0, 1)] | None = Field(
        None, description="share of the layers that are recomputed, where recompute is full; the others keep everything"
    )
    replicate: Annotated[int, Count(1, 10_000_000)] | None = Field(
        None, description="groups of replicas that each hold all shards (hybrid sharding, HSDP); 1 by default: sharded over all"
    )
    cp_all_to_all: bool = Field(
        False, description="context parallelism by exchanging heads for tokens (Ulysses); keys and values go round without it"
    )
    order: str | None = Field(
        None, description="numbering of the devices, the innermost dimension first, such as tp-cp-dp-pp (the default) or tp-cp-pp-dp"
    )

    @model_validator(mode="before")
    @classmethod
    def _text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        if data.strip() == "auto":
            return {"auto": True}
        words: dict[str, Any] = {}
        for part in data.split(","):
            key, equals, value = (word.strip() for word in part.partition("="))
            if not equals or not key or not value:
                fail(LAYOUT_TEXT(value=data))
            if key in words:
                fail(LAYOUT_TEXT(value=data, hint=f"{key!r} is given twice; keep one of them"))
            words[key] = {"true": True, "false": False}.get(value.lower(), value)
        return words

    @model_validator(mode="after")
    def _share(self) -> Self:
        """A share of recomputed layers goes with full recomputation; where the layout is searched for, it is that of candidates with it."""
        if self.recompute_frac is not None and self.recompute != "full" and not (self.auto and self.recompute is None):
            fail(RECOMPUTE_SHARE(level=self.recompute or "none"))
        return self


class CheckpointSpec(Spec):
    """Checkpoints of a training run."""

    every: Annotated[float, Quantity("time")] | None = Field(
        None, description="work between checkpoints; Young's interval without it, where failures are given"
    )
    to: str = Field(description="storage tier that takes them")
    blocking: Annotated[float, Quantity("time", zero=True)] | None = Field(
        None, description="time for which one stops the work, the rest of it is written beside it; all of its time by default"
    )
    bytes_per_parameter: Annotated[float, Share(1, 64)] = Field(
        14.0, description="bytes written for a parameter: 2 weights and 12 optimizer states by default"
    )


SYNCHRONY_KEYS: dict[str, tuple[str, ...]] = {
    "persistent": ("synchronous", "backup", "stale"),
    "jitter": ("synchronous", "backup", "stale"),
    "backup": ("backup",),
    "bound": ("stale",),
    "servers": ("asynchronous",),
    "server_rate": ("asynchronous",),
    "worker_rate": ("asynchronous",),
    "update": ("asynchronous", "local"),
    "every": ("local",),
    "sites": ("local",),
    "link": ("local",),
    "latency": ("local",),
    "overlapped": ("local",),
}
SYNCHRONY_NEEDS: dict[str, tuple[str, ...]] = {
    "backup": ("backup",),
    "stale": ("bound",),
    "asynchronous": ("servers",),
    "local": ("every", "sites", "link"),
}


class SynchronySpec(Spec):
    """How the data-parallel replicas of a run keep together."""

    mode: Literal["synchronous", "backup", "stale", "asynchronous", "local"] = Field(
        "synchronous",
        description="synchronous: all wait for all; backup: the slowest are not waited for; stale: none runs too far ahead; "
        "asynchronous: a parameter server and no waiting; local: averages over sites every so many steps",
    )
    persistent: Annotated[float, Share(0, 0.33)] | None = Field(
        None, description="spread of the devices' speeds, as a coefficient of variation that stays from step to step"
    )
    jitter: Annotated[float, Share(0, 0.33)] | None = Field(
        None, description="spread of a device's step times, drawn anew at every step; both default to the software's"
    )
    backup: Annotated[int, Count(1, 10_000_000)] | None = Field(None, description="replicas that a step does not wait for")
    bound: Annotated[int, Count(0, 1_000_000)] | None = Field(None, description="steps that a replica may be ahead of the slowest")
    servers: Annotated[int, Count(1, 1_000_000)] | None = Field(None, description="parameter servers, each with an equal part")
    server_rate: Annotated[float, Quantity("data rate")] | None = Field(
        None, description="network rate of one server each way; that of a replica's ports by default"
    )
    worker_rate: Annotated[float, Quantity("data rate")] | None = Field(
        None, description="network rate of one replica each way; that of its ports by default"
    )
    update: Annotated[float, Quantity("data size")] | None = Field(
        None, description="size of an update or average; 2 bytes a parameter by default"
    )
    every: Annotated[int, Count(1, 10_000_000)] | None = Field(None, description="steps between two averages over the sites")
    sites: Annotated[int, Count(2, 100_000)] | None = Field(None, description="sites, over which the replicas are spread evenly")
    link: Annotated[float, Quantity("data rate")] | None = Field(None, description="rate of a site's link to the others, each way")
    latency: Annotated[float, Quantity("time", zero=True)] | None = Field(None, description="latency between sites; none by default")
    overlapped: bool = Field(False, description="the next steps go on while an average is made")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Every key says something about the mode, and what a mode needs is there."""
        mode = given.get("mode", "synchronous")
        if mode not in ("synchronous", *SYNCHRONY_NEEDS):
            return
        for key, modes in SYNCHRONY_KEYS.items():
            if given.get(key, False) not in (None, False) and mode not in modes:
                yield NOT_OF_MODE(path=key, key=key, mode=mode, modes=", ".join(modes))
        for key in SYNCHRONY_NEEDS.get(mode, ()):
            if given.get(key) is None:
                yield MISSING_OF_MODE(mode=mode, key=key)


class TrainingSpec(Spec):
    """A training run."""

    model: ModelSpec = Field(description="catalog model by name, or inline hyper-parameters")
    tokens: Annotated[int, Count(1)] | None = Field(None, description="tokens of the whole run")
    steps: Annotated[int, Count(1)] | None = Field(None, description="optimizer steps of the whole run")
    samples: Annotated[int, Count(1)] | None = Field(None, description="sequences or images of the whole run")
    global_batch: Annotated[int, Count(1, 10**9)] = Field(description="sequences (images) of one optimizer step")
    sequence: Annotated[int, Count(1, 10**8)] = Field(1, description="tokens of a sequence; of the decoder's as well in an encoder-decoder")
    precision: Precision = Field("bf16", description="precision of the matrix products")
    layout: LayoutSpec = Field(default_factory=lambda: LayoutSpec(auto=True), description="'auto', or the layout")
    nodes: str | None = Field(None, description="node group; the only one with accelerators by default")
    count: Annotated[int, Count(1, 10_000_000)] | None = Field(None, description="nodes of the run; the whole group by default")
    submit: Annotated[float, Quantity("time", zero=True)] = Field(0.0, description="time of submission", validate_default=False)
    checkpoint: CheckpointSpec | None = Field(None, description="checkpoints")
    restart: Annotated[float, Quantity("time", zero=True)] = Field(
        600.0, description="time from a failure to work again, besides reading the checkpoint", validate_default=False
    )
    framework: str | None = Field(None, description="software that runs it, such as megatron-lm or pytorch-fsdp")
    year: Annotated[int, Count(2012, 2040)] | None = Field(
        None, description="year of that software; by default three after the accelerator's architecture shipped, from 2024 to 2026"
    )
    captured: bool = Field(False, description="the operations of a step are captured in graphs (CUDA graphs) and launched together")
    compiled: bool = Field(False, description="a compiler fuses what an eager framework runs operation by operation (torch.compile)")
    synchrony: SynchronySpec | None = Field(None, description="how the replicas keep together; a full barrier by default")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """The length of a run is given once."""
        return _exactly_one(given, "tokens", "steps", "samples")


class TraceSpec(Spec):
    """A job log."""

    file: str = Field(description="path, relative to the scenario's file")
    format: str | None = Field(None, description="trace reader; found from the file by default")
    processors: Literal["allocated", "requested"] = Field("allocated", description="which processor count a job takes")
    cut: bool = Field(False, description="cut jobs at their requested time; without it they run on")
    max_jobs: Annotated[int, Count(1)] | None = Field(None, description="read no more than so many jobs")
    columns: NamedMap[str] = Field(
        default_factory=dict, description="for tables: which column holds what, such as {submit: submit_time, run: 'duration [min]'}"
    )
    zone: str = Field("UTC", description="time zone of dates that state none")
    dependencies: bool | None = Field(None, description="jobs wait for those that the log names; by default they do, except in SWF")
    load: Annotated[float, Share(0.001, 10)] | None = Field(
        None, description="move submissions apart or together until the jobs ask for this part of the group"
    )
    shake: Annotated[float, Quantity("time", zero=True)] | None = Field(
        None, description="move each submission at random by up to so much either way, by the simulation's seed"
    )


class SyntheticSpec(Spec):
    """Jobs drawn from the distributions of the field (see the workload model page)."""

    model: Literal["shapes", "lublin"] = Field(
        "shapes",
        description="shapes: the distributions that the keys below describe; lublin: the published model of Lublin and Feitelson, which takes jobs or load and the duration only",
    )
    jobs: Annotated[int, Count(1, 100_000_000)] | None = Field(None, description="number of jobs")
    load: Annotated[float, Share(0.001, 10)] | None = Field(
        None, description="offered load: requested processor-seconds over those the group has"
    )
    duration: Annotated[float, Quantity("time")] = Field(description="time over which jobs arrive")
    serial: Annotated[float, Share()] = Field(0.24, description="share of jobs on one processor")
    power_of_two: Annotated[float, Share()] = Field(0.75, description="share of the parallel jobs whose size is a power of two")
    max_processors: Annotated[int, Count(1)] | None = Field(None, description="largest job; a quarter of the group by default")
    median_run: Annotated[float, Quantity("time")] = Field(1800.0, description="median run time", validate_default=False)
    max_run: Annotated[float, Quantity("time")] = Field(
        3 * 86400.0, description="longest run time and the queue's limit", validate_default=False
    )
    users: Annotated[int, Count(1, 1_000_000)] = Field(100, description="users who submit, a few of them most of the jobs")
    daily_cycle: bool = Field(True, description="more arrivals by day and on weekdays")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """The amount of work is given once."""
        return _exactly_one(given, "jobs", "load")


class SearchSpec(Spec):
    """A hyper-parameter search by successive halving: many short trials, few long ones."""

    trials: Annotated[int, Count(1, 1_000_000)] = Field(description="configurations that are tried at first")
    keep: Annotated[int, Count(2, 1000)] = Field(
        3, description="one trial in so many goes on after each round, with so many times the training"
    )
    rounds: Annotated[int, Count(1, 20)] = Field(description="rounds")
    run: Annotated[float, Quantity("time")] = Field(description="time of a trial's first round")
    processors: Annotated[int, Count(1, 10_000_000)] = Field(1, description="processors of a trial")
    spread: Annotated[float, Share(0, 2)] = Field(
        0.0, description="standard deviation of the logarithm of the trials' times: wide and deep networks take longer"
    )


class SlackSpec(Spec):
    """Jobs that may end later than they could: each gets a deadline, this much after its submission and its estimate together."""

    time: Annotated[float, Quantity("time", zero=True)] = Field(description="how much later; of jobs without a deadline of their own")
    share: Annotated[float, Share(0, 1)] = Field(1.0, description="share of the jobs, drawn by the seed")
    queues: tuple[str, ...] = Field((), description="only jobs of these queues; all by default")
    qos: tuple[str, ...] = Field((), description="only jobs of these qualities of service; all by default")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return {"time": data}
        return {k: tuple(str(name) for name in v) if k in ("queues", "qos") and isinstance(v, list) else v for k, v in data.items()}


class DataSetsSpec(Spec):
    """Data sets that jobs without one of their own read: each job one, drawn by the seed."""

    sets: Annotated[int, Count(1, 1_000_000)] = Field(description="number of data sets")
    size: Annotated[float, Quantity("data size")] = Field(description="size of each")
    skew: Annotated[float, Share(0, 5)] = Field(1.0, description="the k-th most read is read k^−skew times as often as the first")


class JobsSpec(Spec):
    """Batch jobs for the scheduler."""

    trace: TraceSpec | None = Field(None, description="a job log")
    synthetic: SyntheticSpec | None = Field(None, description="generated jobs")
    search: SearchSpec | None = Field(None, description="the trials of a hyper-parameter search")
    nodes: Annotated[str | tuple[str, ...] | None, PlainValidator(_groups), PlainSerializer(_plain), WithJsonSchema(_GROUPS)] = Field(
        None, description="node group that runs them, a list of groups that are one machine, or all; the only one by default"
    )
    span: bool = Field(False, description="a job may have nodes of several groups; without it, it keeps to one")
    unit: Literal["core", "accelerator", "node"] | None = Field(
        None, description="what a job's processor is; an accelerator where the group has them, else a core"
    )
    slices: Annotated[int, Count(1, 1024)] = Field(
        1,
        description="parts that an accelerator is divided into (MIG instances, shares of its time); a job's processor is then one of them",
    )
    start_up: Annotated[float, Quantity("time", zero=True)] = Field(
        0.0,
        description="time for which a job holds what it got before it computes: a container is pulled and started, a node prepared",
        validate_default=False,
    )
    data: DataSetsSpec | None = Field(None, description="data sets that they read")
    slack: SlackSpec | None = Field(None, description="jobs that may end later, and so have a deadline: a time for all, or of which jobs")
    elastic: ElasticSpec | None = Field(
        None, description="jobs that may change their size, under the policies moldable, equipartition and goodput"
    )
    communication: NamedMap[CommunicationSpec] = Field(
        default_factory=dict,
        description="what jobs on several nodes send, by name; they then get nodes, and slow each other and the training runs",
    )

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Jobs have one source."""
        return _exactly_one(given, "trace", "synthetic", "search")


class TaskSpec(Spec):
    """A decomposed task: split, partition, dispatch, run, merge (T = ΣT_i, D = ΣD_i)."""

    data: Annotated[float, Quantity("data size")] = Field(description="D: data of the whole task")
    work: Annotated[float, Quantity("work", zero=True)] = Field(description="c: work of the whole task")
    nodes: Annotated[tuple[str, ...], AfterValidator(_some)] | None = Field(None, description="node groups that share it; all by default")
    parts_per_node: Annotated[int, Count(1, 10_000)] = Field(
        1, description="sub-tasks of a node; more of them even out what is not foreseen"
    )
    partition: Literal["throughput", "equal", "printed"] = Field(
        "throughput",
        description="throughput: shares by speed, all finish together; equal: equal shares; printed: the documents' C_i, which leaves data unassigned",
    )
    from_storage: str | None = Field(None, description="storage tier that holds the data; dispatch is limited by it")
    split_rate: Annotated[float, Quantity("data rate")] | None = Field(
        None, description="rate at which one node cuts the data; no time without it"
    )
    result: Annotated[float, Quantity("data size", zero=True)] = Field(0.0, description="data of the merged result", validate_default=False)
    merge_rate: Annotated[float, Quantity("data rate")] | None = Field(
        None, description="rate at which one node merges results; no time without it"
    )
    submit: Annotated[float, Quantity("time", zero=True)] = Field(0.0, description="time of submission", validate_default=False)

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, data: Any) -> Any:
        return {**data, "nodes": tuple(data["nodes"])} if isinstance(data, dict) and isinstance(data.get("nodes"), list) else data


class MatrixProductSpec(Spec):
    """C = A·B with the rows of A spread over ranks, a local product, and a gather of C."""

    rows: Annotated[int, Count(1, 10**9)] = Field(description="rows of A and C")
    inner: Annotated[int, Count(1, 10**9)] = Field(description="columns of A and rows of B")
    columns: Annotated[int, Count(1, 10**9)] = Field(description="columns of B and C")
    ranks: Annotated[int, Count(1, 10**7)] = Field(description="processes, one a node")
    precision: Precision = Field("fp64", description="precision of the elements")
    nodes: str | None = Field(None, description="node group; the only one by default")
    submit: Annotated[float, Quantity("time", zero=True)] = Field(0.0, description="time of submission", validate_default=False)


_OF_PATTERN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "halo": (("grid",), ("element", "width", "periodic", "overlap")),
    "transpose": (("grid",), ("element", "transposes", "overlap")),
    "master-worker": (("tasks",), ("task_input", "task_result")),
    "ensemble": (("tasks",), ()),
    "storage": (("storage",), ("read", "write", "overlap")),
}
"""Keys that each kind of pattern needs, and those that it takes besides."""
_OF_EVERY_PATTERN = ("kind", "work", "ranks", "iterations", "precision", "nodes", "submit")


class PatternSpec(Spec):
    """An application by its communication: a stencil's halo exchange, a transpose, master and workers, an ensemble, or input and output."""

    kind: Literal["halo", "transpose", "master-worker", "ensemble", "storage"] = Field(
        description="halo: faces to the neighbours; transpose: all to all (FFT); master-worker: tasks on demand; ensemble: nobody talks (Monte Carlo); storage: read, compute, write"
    )
    work: Annotated[float, Quantity("work", zero=True)] = Field(description="work of one iteration, all ranks together")
    ranks: Annotated[int, Count(1, 10**6)] | None = Field(None, description="processes, one a node; all nodes by default")
    iterations: Annotated[int, Count(1, 10**9)] = Field(1, description="how often it is done")
    grid: tuple[Annotated[int, Count(1, 10**9)], ...] = Field((), description="points along one to three axes (transpose: two or three)")
    element: Annotated[float, Quantity("data size")] | None = Field(
        None, description="all fields of a point that are exchanged; 8 bytes by default"
    )
    width: Annotated[int, Count(1, 1000)] = Field(1, description="points of the halo on each side")
    periodic: bool = Field(True, description="opposite borders are neighbours")
    transposes: Annotated[int, Count(1, 1000)] = Field(2, description="transposes of an iteration: there and back")
    tasks: Annotated[int, Count(1, 10**9)] | None = Field(None, description="tasks of an iteration (master-worker), members (ensemble)")
    task_input: Annotated[float, Quantity("data size", zero=True)] | None = Field(None, description="sent with a task; nothing by default")
    task_result: Annotated[float, Quantity("data size", zero=True)] | None = Field(None, description="sent back; nothing by default")
    storage: str | None = Field(None, description="storage tier that is read and written")
    read: Annotated[float, Quantity("data size", zero=True)] | None = Field(
        None, description="read in an iteration, all together; nothing by default"
    )
    write: Annotated[float, Quantity("data size", zero=True)] | None = Field(
        None, description="written in an iteration; nothing by default"
    )
    overlap: bool = Field(False, description="exchanges, or input and output, run beside the computation")
    precision: Precision = Field("fp64", description="precision of the arithmetic")
    nodes: str | None = Field(None, description="node group; the only one by default")
    submit: Annotated[float, Quantity("time", zero=True)] = Field(0.0, description="time of submission", validate_default=False)

    @model_validator(mode="before")
    @classmethod
    def _axes(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("grid"), list):
            return {**data, "grid": tuple(data["grid"])}
        return {**data, "grid": (data["grid"],)} if isinstance(data, dict) and isinstance(data.get("grid"), int) else data

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Keys belong to the kind."""
        kind = given.get("kind")
        if kind not in _OF_PATTERN:
            return
        needed, taken = _OF_PATTERN[str(kind)]
        usual = {key: field.default for key, field in cls.model_fields.items()}
        given = {key: value for key, value in given.items() if value != usual.get(key, ...) and value not in ((), [])}
        for key in given:
            if key in cls.model_fields and key not in (*_OF_EVERY_PATTERN, *needed, *taken):
                kinds = ", ".join(name for name, (a, b) in _OF_PATTERN.items() if key in a + b)
                yield NOT_OF_PATTERN(path=key, key=key, kind=kind, kinds=kinds)
        for key in needed:
            if key not in given:
                yield MISSING_OF_PATTERN(kind=kind, key=key)
        axes = given.get("grid")
        if isinstance(axes, (list, tuple)) and not (2 if kind == "transpose" else 1) <= len(axes) <= 3:
            yield AXES(path="grid", kind=kind, count=len(axes), least=2 if kind == "transpose" else 1)


class WorkloadSpec(Spec):
    """What the cluster has to do."""

    training: NamedMap[TrainingSpec] = Field(default_factory=dict, description="training runs by name")
    jobs: JobsSpec | None = Field(None, description="batch jobs")
    tasks: NamedMap[TaskSpec] = Field(default_factory=dict, description="decomposed tasks by name")
    matrix_products: NamedMap[MatrixProductSpec] = Field(default_factory=dict, description="row-partitioned matrix products by name")

    patterns: NamedMap[PatternSpec] = Field(default_factory=dict, description="applications by their communication pattern, by name")
    pipelines: NamedMap[PipelineSpec] = Field(default_factory=dict, description="data pipelines by name")
    serving: NamedMap[ServingSpec] = Field(default_factory=dict, description="models that are served, by name")

    @classmethod
    def form(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """There is something to do."""
        if "jobs" not in given and not any(given.values()):
            yield EMPTY_WORKLOAD()
