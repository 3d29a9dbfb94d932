"""A site's Slurm files as the cluster section of a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["as_yaml", "machine_section"]


def machine_section(
    file: str | Path, *, topology: str | Path | None = None, link: str | None = None, all_states: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Return the ``cluster`` section of a scenario from ``slurm.conf`` (or ``sinfo``) and ``topology.conf``, with notes on what it cannot say.

    Raises
    ------
    InputError
        A file that cannot be read, or that is neither.
    """
    import dataclasses

    from hpcsim.base.errors import InputError
    from hpcsim.cluster.slurm import cluster_section, read_sinfo, read_slurm_conf, read_topology
    from hpcsim.workload.readers.text import decoded, unpacked

    text, tree = (decoded(unpacked(name), str(name))[0] if name is not None else "" for name in (file, topology))
    try:
        conf = any("=" in line and line.strip().lower().startswith(("nodename", "partitionname")) for line in text.splitlines())
        machine = read_slurm_conf(text) if conf else read_sinfo(text)
    except InputError as error:
        raise InputError([dataclasses.replace(problem, file=problem.file or str(file)) for problem in error.problems]) from None
    if tree:
        try:
            machine = dataclasses.replace(machine, switches=read_topology(tree))
        except InputError as error:
            raise InputError([dataclasses.replace(problem, file=problem.file or str(topology)) for problem in error.problems]) from None
    return cluster_section(machine, link=link, all_states=all_states)


def as_yaml(section: dict[str, Any]) -> str:
    """Return a cluster section as it stands in a scenario."""
    import yaml

    return str(yaml.safe_dump({"cluster": section}, sort_keys=False, default_flow_style=None, width=120)).rstrip("\n")
