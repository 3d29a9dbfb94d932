"""What can go wrong, said once.

    HpcsimError
    ├── InputError        the user's input is wrong: every problem at once, exit status 2
    └── CheckFailure      the input is fine and a check on it failed, exit status 1

A :class:`ProblemKind` is registered once, with a message and a remedy; a :class:`Problem` is one occurrence of it at a place.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CheckFailure",
    "HpcsimError",
    "InputError",
    "Problem",
    "ProblemKind",
    "Problems",
    "markdown",
    "problem_kind",
    "problem_kinds",
    "shown",
]


_LONGEST = 120


def shown(value: object) -> str:
    """Return the ``repr`` of a user's value, shortened, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # a huge int, or a foreign class: the message matters more than the value
        text = f"<a value of type {type(value).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _one_line(text: str) -> str:
    """Return ``text`` with everything that does not print (line breaks, terminal escapes, half surrogates) written out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class _Template(string.Formatter):
    def convert_field(self, value: Any, conversion: str | None) -> Any:
        return shown(value) if conversion == "r" else super().convert_field(value, conversion)


_TEMPLATE = _Template()


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake at one place.

    Attributes
    ----------
    code : str
        Registered code, such as ``"unknown-key"``.
    message : str
        What is wrong, in one sentence without a full stop.
    hint : str
        The remedy; empty when there is none to give.
    path : str
        Dotted path of the offending value in the scenario; empty when the problem has no path.
    file : str
        File name as the user gave it; empty when the input is not a file.
    line, column : int
        Position in the file, counted from 1; 0 when unknown.
    """

    code: str
    message: str
    hint: str = ""
    path: str = ""
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place = f"{place or '<text>'}:{self.line}:{self.column}"
        path = self.path if len(self.path) <= 2 * _LONGEST else f"{self.path[: 2 * _LONGEST - 1]}…"
        parts = [part for part in (place, path, self.message) if part]
        hint = f" ({self.hint})" if self.hint else ""
        return _one_line(f"{': '.join(parts)}{hint} [{self.code}]")

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Problem:
        """Read what :meth:`record` wrote."""
        return cls(**record)

    def located(self, file: str = "", line: int = 0, column: int = 0, path: str = "") -> Problem:
        """Return the same problem with the empty parts of its place filled in."""
        return dataclasses.replace(
            self,
            file=self.file or file,
            line=self.line or line,
            column=self.column or column,
            path=self.path or path,
        )


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A registered kind of problem; calling it makes a :class:`Problem`.

    ``message`` and ``hint`` are templates for :meth:`str.format`; their fields are the keyword arguments of the call, and ``!r``
    shortens what is long.
    """

    code: str
    message: str
    hint: str

    def __call__(
        self, *, path: str = "", file: str = "", line: int = 0, column: int = 0, hint: str | None = None, **fields: object
    ) -> Problem:
        """Return one problem of this kind; ``hint`` replaces the registered remedy."""
        words: dict[str, Any] = {"path": path, "file": file, **fields}
        remedy = _TEMPLATE.vformat(self.hint, (), words) if hint is None else hint
        return Problem(self.code, _TEMPLATE.vformat(self.message, (), words), remedy, path, file, line, column)

    def error(self, *, path: str = "", file: str = "", hint: str | None = None, **fields: object) -> InputError:
        """Return an :class:`InputError` that holds this one problem, ready to be raised."""
        problem = self(path=path, file=file, hint=hint, **fields)  # type: ignore[arg-type]
        return InputError([problem])


_KINDS: dict[str, ProblemKind] = {}


def problem_kind(code: str, message: str, hint: str = "") -> ProblemKind:
    """Register a kind of problem.

    Parameters
    ----------
    code : str
        Unique, lower case with hyphens.
    message, hint : str
        Templates with named fields; ``hint`` is the remedy.

    Raises
    ------
    ValueError
        When the code is taken or malformed: a mistake of the programmer, not of the user.
    """
    if not code or set(code) - set(string.ascii_lowercase + string.digits + "-"):
        raise ValueError(f"malformed problem code {code!r}")
    if code in _KINDS:
        raise ValueError(f"problem code {code!r} is registered twice")
    kind = ProblemKind(code, message, hint)
    _KINDS[code] = kind
    return kind


def problem_kinds() -> dict[str, ProblemKind]:
    """Return every registered kind by code, in order of registration."""
    return dict(_KINDS)


def _template_words(template: str) -> Iterator[str]:
    for text, name, _, _ in _TEMPLATE.parse(template):
        yield text
        if name is not None:
            yield f"{{{name}}}"


def markdown() -> str:
    """Return the reference page of all problems that are registered so far; import what registers them first."""
    lines = [
        "# Problems",
        "",
        "Generated from the registered kinds. A problem is shown as `file:line:column: path: message (remedy) [code]`; words in braces",
        "stand for what the input gave. Wrong input ends a command with exit status 2 after all problems were listed.",
        "",
        "| code | message | remedy |",
        "|---|---|---|",
    ]
    for code, kind in sorted(_KINDS.items()):
        texts = [_one_line("".join(_template_words(text))).replace("|", "\\|") for text in (kind.message, kind.hint)]
        lines.append(f"| `{code}` | {texts[0]} | {texts[1] or '–'} |")
    return "\n".join(lines) + "\n"


class HpcsimError(Exception):
    """Base of everything that hpcsim raises on purpose."""


class InputError(HpcsimError):
    """The input is wrong; ``problems`` lists every mistake that was found, in reading order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = list(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[InputError], tuple[list[Problem]]]:
        return (type(self), (self.problems,))


class CheckFailure(HpcsimError):
    """A check on sound input failed."""


@dataclass(slots=True)
class Problems:
    """Collects problems so that all of them can be reported at once."""

    items: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Note one problem."""
        self.items.append(problem)

    def absorb(self, error: InputError, path: str = "") -> None:
        """Note every problem of ``error``, under ``path`` where it has none of its own."""
        self.items.extend(problem.located(path=path) for problem in error.problems)

    def raise_if_any(self) -> None:
        """Raise :class:`InputError` when anything was noted."""
        if self.items:
            raise InputError(self.items)
