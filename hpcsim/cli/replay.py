"""``hpcsim replay``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from hpcsim.base.errors import problem_kind

if TYPE_CHECKING:
    from hpcsim.engine.stopping import Stopping

BAD_COLUMNS = problem_kind(
    "columns-option", "{part!r} {why}", "for example --columns 'submit=submit_time,run=duration [min],processors=cpus'"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("trace", metavar="TRACE", help="job log, plain or compressed")
    reader_arguments(parser)
    parser.add_argument(
        "--nodes", type=_nodes, required=True, metavar="N", help="nodes of the machine; 'smallest': the smallest that hold every job"
    )
    parser.add_argument("--cores-per-node", type=int, default=1, metavar="C", help="processors of a node (default: 1)")
    parser.add_argument("--gpus-per-node", type=int, metavar="G", help="count accelerators instead: a node has G of them")
    parser.add_argument(
        "--placement", metavar="NAME", help="give jobs nodes: first-fit, best-fit, worst-fit, pack, spread, … (default: any processors)"
    )
    parser.add_argument(
        "--locality", choices=("any", "node"), help="a job that states no nodes lies anywhere, or on as few nodes as hold equal parts"
    )
    parser.add_argument("--memory-per-node", metavar="SIZE", help="memory of a node, such as '256 GB': jobs are held to what they ask for")
    _policy_arguments(parser)
    parser.add_argument(
        "--estimates",
        choices=("requested", "actual", "predicted", "regression"),
        default="requested",
        help="run times that policies plan with; predicted: mean of the user's last two (default: requested)",
    )
    parser.add_argument(
        "--order", choices=("batch", "event"), default="batch", help="a pass after all events of an instant, or after each (default: batch)"
    )
    parser.add_argument(
        "--load", type=float, metavar="L", help="move submissions apart or together until this part of the machine is asked for"
    )
    parser.add_argument("--shake", metavar="TIME", help="move each submission at random by up to so much, such as '60 s'")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of --shake and of a part of the jobs in --elastic (default: 0)"
    )
    parser.add_argument("--power", metavar="BUSY[,IDLE]", help="power of a processor, such as '12 W,4 W': gives the energy per job")
    parser.add_argument(
        "--elastic",
        metavar="LAW[:KEY=VALUE,…]",
        help="jobs may change their size: 'downey:parallelism=2,variance=1,least=0.25,most=4', 'amdahl:serial=0.05', 'table:1=1,2=1.9,4=3.5'",
    )
    parser.add_argument(
        "--stopping",
        metavar="KEY=VALUE[,…]",
        help="what it costs a job to be stopped or to change its size: 'save=60 s,restore=2 min,interval=1 h,resubmit=30 s,notice=true'",
    )
    parser.add_argument(
        "--hourly",
        metavar="FILE",
        help="CSV of hourly prices and carbon intensities, for --policy shift; with --power, prices the electricity",
    )
    parser.add_argument("--out", metavar="DIR", help="write jobs.csv, tables and report there (default: nothing is written)")
    parser.add_argument("--no-charts", action="store_true", help="with --out: tables only")


def reader_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Declare how a log is read, for every command that reads one."""
    parser.add_argument("--format-in", metavar="NAME", help="format of the log (default: found from the file)")
    parser.add_argument(
        "--columns",
        action="append",
        default=[],
        metavar="KEY=COLUMN[,…]",
        help="for tables: which column holds what, such as 'run=duration [min]'",
    )
    parser.add_argument("--zone", default="UTC", metavar="ZONE", help="time zone of dates that state none (default: UTC)")
    parser.add_argument(
        "--dependencies",
        choices=("follow", "ignore"),
        help="whether jobs wait for those that the log names (default: follow, except in SWF)",
    )
    parser.add_argument(
        "--procs", choices=("requested", "allocated"), default="allocated", help="processors a job takes (default: allocated)"
    )
    parser.add_argument("--whole-nodes", action="store_true", help="round a job's processors up to whole nodes")
    parser.add_argument("--cut", action="store_true", help="cut jobs at their requested time (default: they run on)")
    parser.add_argument("--max-jobs", type=int, metavar="N", help="read no more than so many jobs")


def reading_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return what :func:`reader_arguments` say, as arguments of :func:`hpcsim.replay` and :func:`hpcsim.study.explain.explain_log`.

    Raises
    ------
    InputError
        A map of columns that is none.
    """
    return {
        "trace_format": args.format_in,
        "columns": column_map(args.columns),
        "zone": args.zone,
        "processors": args.procs,
        "dependencies": None if args.dependencies is None else args.dependencies == "follow",
        "whole_nodes": args.whole_nodes,
        "cut": args.cut,
        "max_jobs": args.max_jobs,
    }


def _policy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        default="easy",
        metavar="P[,P…]",
        help="scheduling policies, side by side; 'all' that the log can tell apart (default: easy)",
    )
    parser.add_argument("--give-up", metavar="TIME", help="with --policy all: leave out what takes more processor time, such as '10 min'")


def _nodes(text: str) -> int | str:
    return text if text == "smallest" else int(text)


def column_map(given: list[str]) -> dict[str, str] | None:
    """Return the map of ``--columns``, None where it is not given.

    Raises
    ------
    InputError
        A part is not of the form KEY=COLUMN, or a key comes twice.
    """
    found: dict[str, str] = {}
    for part in (part for text in given for part in text.split(",")):
        key, equals, column = (word.strip() for word in part.partition("="))
        if not equals or not key or not column:
            raise BAD_COLUMNS.error(path="--columns", part=part, why="is not of the form KEY=COLUMN")
        if key in found:
            raise BAD_COLUMNS.error(path="--columns", part=key, why="is given twice")
        found[key] = column
    return found or None


def power_of(text: str | None) -> tuple[float, float] | None:
    """Return the power of a busy and an idle processor [W] of ``--power``.

    Raises
    ------
    InputError
        No one or two powers.
    """
    from hpcsim.base.units import parse_quantity

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not 1 <= len(parts) <= 2:
        raise BAD_COLUMNS.error(path="--power", part=text, why="is not of the form BUSY[,IDLE]", hint="for example --power '12 W,4 W'")
    values = [parse_quantity(part, "power") for part in parts]
    return values[0], values[1] if len(values) > 1 else 0.0


def size_of(text: str | None) -> int | None:
    """Return what ``--memory-per-node`` says, in bytes.

    Raises
    ------
    InputError
        No data size.
    """
    from hpcsim.base.units import parse_quantity

    return None if text is None else int(parse_quantity(text, "data size"))


def stopping_of(text: str | None) -> Stopping | None:
    """Return what ``--stopping`` says of the costs of being stopped.

    Raises
    ------
    InputError
        No such cost, or no time.
    """
    from hpcsim.base.units import parse_quantity
    from hpcsim.engine.stopping import Stopping

    if text is None:
        return None
    found: dict[str, float | bool] = {}
    for part in text.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or key not in ("save", "restore", "interval", "resubmit", "notice"):
            why = "is no cost of stopping a job"
            raise BAD_COLUMNS.error(path="--stopping", part=part, why=why, hint="for example --stopping 'save=60 s,restore=2 min'")
        if key == "notice":
            if value not in ("true", "false"):
                raise BAD_COLUMNS.error(path="--stopping", part=part, why="is neither true nor false", hint="notice=true or notice=false")
            found[key] = value == "true"
        else:
            found[f"{key}_s"] = parse_quantity(value, "time")
            if not found[f"{key}_s"] >= (1e-3 if key == "interval" else 0):
                raise BAD_COLUMNS.error(path="--stopping", part=part, why="is below what is possible", hint="for example interval=1 h")
    return Stopping(**found)  # type: ignore[arg-type]


def policy_list(text: str) -> tuple[str, ...]:
    """Return the policies of ``--policy``; what has an ``=`` and no ``:`` is a further option of the one before.

    Examples
    --------
    >>> policy_list("easy,priority:age=2,favor_small=true,fcfs")
    ('easy', 'priority:age=2,favor_small=true', 'fcfs')
    """
    found: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if "=" in part and ":" not in part.partition("=")[0] and found:
            found[-1] += f",{part}"
        elif part:
            found.append(part)
    return tuple(found)


def run(args: argparse.Namespace) -> int:
    """Replay the log under every policy."""
    from hpcsim.base.units import parse_quantity
    from hpcsim.cli.output import prepare_folder, print_results, write_results
    from hpcsim.study.replay import replay

    if args.out is not None:
        prepare_folder(args.out)
    results = replay(
        args.trace,
        nodes=args.nodes,
        cores_per_node=args.cores_per_node,
        gpus_per_node=args.gpus_per_node,
        placement=args.placement,
        locality=args.locality,
        memory_per_node=size_of(args.memory_per_node),
        load=args.load,
        shake_s=None if args.shake is None else parse_quantity(args.shake, "time"),
        seed=args.seed,
        power_w=power_of(args.power),
        hours=args.hourly,
        policies=policy_list(args.policy),
        give_up_s=None if args.give_up is None else parse_quantity(args.give_up, "time"),
        estimates=args.estimates,
        order=args.order,
        elastic=args.elastic,
        stopping=stopping_of(args.stopping),
        **reading_of(args),
    )
    paths = write_results(results, args.out, charts=not args.no_charts) if args.out else []
    print_results(results, args, folder=args.out or "", files=len(paths))
    return 0
