"""Entry point of the command line; a command's module is imported only when the command is used."""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from hpcsim.base.errors import CheckFailure, InputError, Problem, problem_kind

__all__ = ["COMMANDS", "build_parser", "main"]

COMMANDS: dict[str, str] = {
    "run": "simulate a scenario event by event and write its report",
    "check": "check scenarios without running them",
    "estimate": "closed-form time, memory, energy, money and carbon of training runs",
    "search": "the best layouts of a training run that fit memory, ranked by time, cost or energy",
    "replay": "replay a job log under one or several scheduling policies",
    "sweep": "run a scenario at every combination of changed values",
    "plan": "the capacity that reaches goals: requirement analysis, planning, construction, optimisation, maintenance",
    "compare": "what differs between scenarios, what changes in their answers, and which terms explain it",
    "verify": "hold predictions beside measurements, case by case and by source",
    "calibrate": "fit the model's terms to measurements of your own and write an overlay catalog",
    "catalog": "list and show the facts that hpcsim knows, with their sources",
    "machine": "turn a site's slurm.conf, topology.conf or sinfo into the cluster section of a scenario",
    "schema": "print the JSON Schema of scenarios, for editors",
    "explain": "where a step's time goes and what would shorten it, or the formula behind a number",
}
BAD_ARGUMENTS = problem_kind("bad-arguments", "{why}", "see {program} --help")
CANNOT_PRINT = problem_kind("cannot-print", "standard output cannot be written: {why}", "send it elsewhere, or free some space")
OUT_OF_MEMORY = problem_kind("out-of-memory", "this takes more memory than the machine has", "ask for fewer jobs, nodes or points")
_EPILOG = "exit status: 0 done, 1 a check failed, 2 wrong input (every problem is listed with its place and remedy)"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments as every other problem is said."""

    def error(self, message: str) -> NoReturn:
        raise BAD_ARGUMENTS.error(why=message, program=self.prog)

    def options(self) -> list[str]:
        """Return every option that it knows, in the long form."""
        return [text for action in self._actions for text in action.option_strings if text.startswith("--")]


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; only the arguments of ``command`` are filled in, so that nothing else is imported."""
    parser = _Parser(prog="hpcsim", description="Simulate and plan HPC and AI clusters.", epilog=_EPILOG, allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        if name == command:
            importlib.import_module(f"hpcsim.cli.{name}").add_arguments(sub)
            sub.add_argument(
                "--format", choices=("table", "json"), default="table", help="what is printed on standard output (default: table)"
            )
            sub.add_argument("--quiet", action="store_true", help="print nothing but errors, and JSON where it is asked for")
    return parser


def _dispatch(argv: Sequence[str]) -> int:
    command = next((word for word in argv if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        raise BAD_ARGUMENTS.error(why=f"there is no command {command!r}{_near(command, COMMANDS)}", program="hpcsim")
    parser = build_parser(command)
    args, rest = parser.parse_known_args(argv)
    if rest:
        raise InputError([_unknown(word, command, parser) for word in rest if word.startswith("-")] or [_unknown(rest[0], command, parser)])
    if args.version:
        import hpcsim

        print(f"hpcsim {hpcsim.__version__}")
        return 0
    if not args.command:
        parser.print_help()
        return 0
    status: int = importlib.import_module(f"hpcsim.cli.{args.command}").run(args)
    return status


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1, 0.7)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown(word: str, command: str | None, parser: argparse.ArgumentParser) -> Problem:
    """Say which argument a command does not take, and what was probably meant."""
    program = f"hpcsim {command}" if command else "hpcsim"
    option = word.partition("=")[0]
    if not word.startswith("-"):
        return BAD_ARGUMENTS(why=f"{word!r} is one argument too many", program=program)
    return BAD_ARGUMENTS(why=f"there is no option {option}{_near(option, _options(parser, command))}", program=program)


def _options(parser: argparse.ArgumentParser, command: str | None) -> list[str]:
    """Return the long options of a command."""
    below = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
    found = below.choices[command] if below is not None and command else parser
    return found.options() if isinstance(found, _Parser) else []


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; never lets a traceback out.

    Setting the environment variable ``HPCSIM_TRACEBACK`` shows the traceback of an error inside hpcsim itself.
    """
    try:
        status = _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return status
    except InputError as error:
        for problem in error.problems:
            _say(str(problem))
        return 2
    except CheckFailure as error:
        _say(str(error))
        return 1
    except SystemExit as error:  # --help
        return error.code if isinstance(error.code, int) else 0
    except KeyboardInterrupt:
        _say("interrupted; files that were complete stay, nothing is half written")
        return 130
    except MemoryError:
        _say(str(OUT_OF_MEMORY()))
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            _say(str(CANNOT_PRINT(why=error.strerror)))
            return 2
        if os.environ.get("HPCSIM_TRACEBACK"):
            raise
        _say(
            f"hpcsim failed: {type(error).__name__}: {error} (a fault of hpcsim; HPCSIM_TRACEBACK=1 shows where, please report it) [internal]"
        )
        return 3
