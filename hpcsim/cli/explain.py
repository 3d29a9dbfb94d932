"""``hpcsim explain``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from hpcsim.base.errors import problem_kind

BAD_SUBMIT = problem_kind("explain-submit", "--submit is {given!r}", "processors and requested time, such as '64,4 h'")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from hpcsim.cli import estimate
    from hpcsim.cli.replay import reader_arguments

    estimate.add_arguments(parser)
    for action in parser._actions:
        if action.dest == "scenario":
            action.metavar, action.help = (
                "WHAT",
                "scenario file, job log, or a number by its name: TABLE.COLUMN, a summary key, a step's term",
            )
    waits = parser.add_argument_group("waits", "of a job log, or with --job of a scenario")
    waits.add_argument("--job", type=int, metavar="ID", help="why this job waited (default: what all of them wait for)")
    waits.add_argument("--submit", metavar="PROCESSORS,TIME", help="when a job submitted now would start, such as '64,4 h'")
    waits.add_argument("--at", metavar="TIME", help="now, from the log's first second on (default: its last submission)")
    waits.add_argument("--nodes", type=int, metavar="N", help="nodes of the machine")
    waits.add_argument("--cores-per-node", type=int, default=1, metavar="C", help="processors of a node (default: 1)")
    waits.add_argument("--gpus-per-node", type=int, metavar="G", help="count accelerators instead")
    waits.add_argument("--placement", metavar="NAME", help="give jobs nodes, and tell the reasons by resource: first-fit, pack, …")
    waits.add_argument("--locality", choices=("any", "node"), help="as in replay")
    waits.add_argument("--memory-per-node", metavar="SIZE", help="memory of a node, such as '256 GB': jobs are held to what they ask for")
    waits.add_argument("--policy", default="easy", metavar="P", help="scheduling policy (default: easy)")
    waits.add_argument("--rack", type=int, metavar="NODES", help="nodes of one more rack (default: a tenth of the machine)")
    reader_arguments(waits)
    waits.add_argument("--draws", type=int, default=20, metavar="K", help="with --submit: drawn futures (default: 20)")
    waits.add_argument("--seed", type=int, default=0, metavar="S", help="with --submit: seed of the draws (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Explain a number, or the step of a scenario."""
    from pathlib import Path

    what = args.scenario
    if what is not None and not what.endswith((".yaml", ".yml")) and not Path(what).is_file():
        from hpcsim.study.explain import explain_term

        return _print(explain_term(what), args)
    if what is not None and (
        args.job is not None or args.nodes is not None or args.rack is not None or not what.endswith((".yaml", ".yml"))
    ):
        return _waits(what, args)
    from hpcsim.cli.estimate import scenario_of
    from hpcsim.cli.output import prepare_folder, write_results
    from hpcsim.study.explain import explain_run

    scenario = scenario_of(args)
    if args.out is not None:
        prepare_folder(args.out)
    results = explain_run(scenario)
    if args.out:
        write_results(results, args.out)
    if args.format == "json":
        from hpcsim.cli.output import _records

        document = {**results.document(), **{name: _records(table) for name, table in results.tables.items()}}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    elif not args.quiet:
        _show(results)
    return 0


def _waits(what: str, args: argparse.Namespace) -> int:
    """Explain the waits of a log, or of a scenario's job."""
    from hpcsim.base.units import parse_quantity
    from hpcsim.cli.output import prepare_folder, print_results, write_results
    from hpcsim.cli.replay import reading_of, size_of
    from hpcsim.study.explain import explain_log

    submit = None
    if args.submit is not None:
        processors, comma, time = args.submit.partition(",")
        if not comma or not processors.strip().isdigit():
            raise BAD_SUBMIT.error(path="--submit", given=args.submit)
        submit = (int(processors), parse_quantity(time.strip(), "time"))
    if args.out is not None:
        prepare_folder(args.out)
    results = explain_log(
        what,
        job=args.job,
        submit=submit,
        at_s=None if args.at is None else parse_quantity(args.at, "time"),
        nodes=args.nodes,
        cores_per_node=args.cores_per_node,
        gpus_per_node=args.gpus_per_node,
        policy=args.policy,
        rack=args.rack,
        **reading_of(args),
        draws=args.draws,
        seed=args.seed,
        placement=args.placement,
        locality=args.locality,
        memory_per_node=size_of(args.memory_per_node),
    )
    paths = write_results(results, args.out) if args.out else []
    if args.format == "json":
        from hpcsim.cli.output import _records

        print_results(results, args, extra={name: _records(table) for name, table in results.tables.items()})
        return 0
    print_results(results, args, folder=args.out or "", files=len(paths))
    if not args.quiet:
        _show_waits(results)
    return 0


_MOST_ROWS = 8


def _show_waits(results: Any) -> None:
    from hpcsim.report.terminal import columns
    from hpcsim.results.quantities import show

    jobs, room = results.tables.get("wait_jobs"), results.tables.get("room")
    if jobs is not None and len(jobs):
        _show_others(jobs, float(results.summary["wait_s"]))
    binding = results.tables.get("binding")
    if binding is not None and len(binding):
        print("\nwhat the first in line was short of, for how long and for which share of the time in which any job waited")
        spans = [(f"  {r.reason}", show("t_s", r.span_s), show("x_frac", r.waiting_frac)) for r in binding.head(_MOST_ROWS).itertuples()]
        print(columns(spans, right=(1, 2)))
    if room is not None:
        print("\nsimulated anew")
        keys = ("mean_wait_s", "p95_wait_s", "mean_bounded_slowdown", "saved_wait_frac")
        head = ("", "mean wait", "95th percentile", "bounded slowdown", "wait saved")
        print(
            columns(
                [head, *((f"  {row['case']}", *(show(key, row[key]) for key in keys)) for row in room.to_dict("records"))],
                right=(1, 2, 3, 4),
            )
        )


_ROLES = {
    "held": "ran when it was submitted",
    "ahead": "came before it, started while it waited",
    "passed": "came later, passed it",
    "released": "ended as it started",
}


def _show_others(jobs: Any, wait_s: float) -> None:
    """Print the jobs around a wait: over the wait who had how much, or who ran at the one instant where there was no wait."""
    from hpcsim.report.terminal import columns
    from hpcsim.results.quantities import show

    roles: dict[int, list[str]] = {}
    for job, role in zip(jobs["job_id"], jobs["role"], strict=True):
        roles.setdefault(job, []).append(_ROLES[role])
    once = jobs.drop_duplicates("job_id")
    if not wait_s > 0:
        once = once[[_ROLES["held"] in roles[job] for job in once["job_id"]]].sort_values("processors", ascending=False, kind="stable")
    if not len(once):
        return
    print(f"\nwho had the processors over the wait of {show('t_s', wait_s)}" if wait_s > 0 else "\nwho ran at the instant when it came")
    lines = []
    for r in once.head(_MOST_ROWS).itertuples():
        line = (f"  job {r.job_id}", f"{r.processors:,} processors")
        held = f"for {show('t_s', min(r.processor_s / r.processors, wait_s))} of it" if r.processors else ""
        lines.append((*line, held, ", ".join(roles[r.job_id])) if wait_s > 0 else line)
    print(columns(lines, right=(1, 2) if wait_s > 0 else (1,)))
    if len(once) > _MOST_ROWS:
        print(f"  and {len(once) - _MOST_ROWS:,} more")


def _print(entry: dict[str, str], args: argparse.Namespace) -> int:
    if args.format == "json":
        print(json.dumps(entry, indent=2, ensure_ascii=False))
    elif not args.quiet:
        print(f"{entry['name']} ({entry['kind']}" + (f", {entry['unit']})" if entry["unit"] not in ("", "1") else ")"))
        for key in ("meaning", "formula", "symbols", "source"):
            if entry[key]:
                print(f"  {key}: {entry[key]}")
    return 0


def _show_pipelines(results: Any) -> None:
    from hpcsim.report.terminal import columns
    from hpcsim.results.quantities import show

    for name, rows in results.tables["stages"].groupby("name", sort=False):
        print(f"\nwhat each stage takes alone: {name}")
        words = [(r.bound_by, r.bound_at if isinstance(r.bound_at, str) else "") for r in rows.itertuples()]
        print(
            columns(
                [
                    (f"  {r.stage}", show("t_s", r.alone_s), show("d_bytes", r.in_bytes), f"{kind}: {at}" if at else kind)
                    for r, (kind, at) in zip(rows.itertuples(), words, strict=True)
                ],
                right=(1, 2),
            )
        )
    for name, rows in results.tables["what_if"].groupby("name", sort=False):
        print(f"\nif it were doubled: {name}")
        print(
            columns(
                [(f"  {r.resource}", show("t_s", r.step_time_s), f"×{r.speedup_ratio:.3f}", f"then {r.term}") for r in rows.itertuples()],
                right=(1, 2),
            )
        )


def _show(results: Any) -> None:
    from hpcsim.report.terminal import columns
    from hpcsim.results.quantities import show

    print(results.answer)
    if "stages" in results.tables:
        _show_pipelines(results)
        return
    for name, rows in results.tables["breakdown"].groupby("name", sort=False):
        print(f"\nwhere the time of a step goes: {name}")
        ordered = rows.sort_values("seconds", ascending=False, kind="stable")
        print(columns([(f"  {r.term}", show("t_s", r.seconds), show("x_frac", r.fraction)) for r in ordered.itertuples()], right=(1, 2)))
    for name, rows in results.tables["what_if"].groupby("name", sort=False):
        print(f"\nif it were doubled: {name}")
        print(
            columns(
                [
                    (
                        f"  {r.resource}",
                        show("t_s", r.step_time_s),
                        f"×{r.speedup_ratio:.3f}",
                        "" if not isinstance(r.term, str) else f"less {r.term}",
                    )
                    for r in rows.itertuples()
                ],
                right=(1, 2),
            )
        )
    for name, rows in results.tables["memory_stages"].groupby("name", sort=False):
        fullest = rows.loc[rows["most_bytes"].idxmax()]
        print(f"\nwhat the devices of a stage hold at most: {name}")
        shown = rows.iloc[sorted({0, len(rows) // 2, len(rows) - 1, int(rows.index.get_loc(fullest.name))})]
        print(
            columns(
                [
                    (f"  stage {r.stage_number}, {r.stage_layers:g} layers", show("peak_memory_bytes", r.most_bytes), f"at the {r.during}")
                    for r in shown.itertuples()
                ],
                right=(1,),
            )
        )
