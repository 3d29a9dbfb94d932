"""Write a set of files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hpcsim.base.errors import InputError, problem_kind

__all__ = ["digest", "refuse_others_file", "write_whole"]

CANNOT_WRITE = problem_kind(
    "cannot-write", "cannot write to the folder: {why}", "choose another folder with --out, or give yourself the right to write"
)
NOT_A_FOLDER = problem_kind(
    "not-a-folder", "{name} is a file, and a folder is needed there", "choose another folder with --out, or move the file away"
)
DISK_FULL = problem_kind("disk-full", "the disk is full: {why}", "free some space or choose another folder with --out; nothing was written")

OTHERS_FILE = problem_kind(
    "not-to-overwrite", "the file exists and is no {what}; it is left as it is", "choose another name with {option}, or move the file away"
)

Writer = Callable[[Path], None]
"""Writes one file at the path it is given."""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_others_file(path: str | Path, opening: str, *, what: str, option: str) -> None:
    """Refuse to overwrite a file that hpcsim did not write: one that does not begin with ``opening``.

    Parameters
    ----------
    path : path
        Where something is to be written; it need not exist.
    opening : str
        First characters of what hpcsim writes there.
    what, option : str
        What that is, and the option that names the file, for the message.

    Raises
    ------
    InputError
        ``not-to-overwrite``.
    """
    file = Path(path)
    with _as_input_error(file.parent):
        if not file.is_file():
            return
        with file.open("rb") as stream:
            start = stream.read(len(opening.encode()))
    if start and start != opening.encode():
        raise OTHERS_FILE.error(file=str(path), what=what, option=option)


def write_whole(
    folder: str | Path,
    files: Mapping[str, bytes | Writer],
    *,
    remove: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write every file into ``folder``, or leave it as it was.

    All files are written in a temporary folder on the same file system and then moved in place by renaming; if anything fails
    before the end, the earlier files are put back and the temporary folder is removed.

    Parameters
    ----------
    folder : path
        Made, with its parents, where it does not exist.
    files : mapping of str to bytes or callable
        Content, or what writes it, by name relative to ``folder`` (``charts/power.svg``).
    remove : mapping of str to str, optional
        Files of an earlier writing that are to go, by name with their SHA-256; one that was changed since stays.

    Returns
    -------
    list of Path
        The files written, in the order of ``files``.

    Raises
    ------
    InputError
        ``not-a-folder``, ``disk-full`` or ``cannot-write``.
    """
    given = Path(folder)
    with _as_input_error(given):
        target = given.resolve()
        _refuse_a_file(target)
        made = [parent for parent in (target, *target.parents) if not parent.exists()]
        try:
            target.mkdir(parents=True, exist_ok=True)
            _stage_and_move(target, files, remove or {})
        except BaseException:
            for parent in made:  # deepest first; those that were there before, or hold anything, stay
                with contextlib.suppress(OSError):
                    parent.rmdir()
            raise
    return [given / name for name in files]


def _stage_and_move(target: Path, files: Mapping[str, bytes | Writer], remove: Mapping[str, str]) -> None:
    stage = target / f".partial-{os.getpid()}"
    shutil.rmtree(stage, ignore_errors=True)
    try:
        for name, content in files.items():
            path = stage / "new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                content(path)
        _move(target, stage, list(files), remove)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move(target: Path, stage: Path, names: list[str], remove: Mapping[str, str]) -> None:
    done: list[tuple[Path, Path | None]] = []
    try:
        for name in names:
            path, kept = target / name, stage / "old" / name
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "a folder is in the way", str(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            backup = None
            if path.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, kept)
                backup = kept
            done.append((path, backup))
            os.replace(stage / "new" / name, path)
    except BaseException:
        for path, backup in reversed(done):
            path.unlink(missing_ok=True)
            if backup is not None:
                os.replace(backup, path)
        for path, _ in done:
            with contextlib.suppress(OSError):
                if path.parent != target:
                    path.parent.rmdir()
        raise
    for name, sha256 in remove.items():
        path = target / name
        with contextlib.suppress(OSError):
            if name not in names and path.resolve().is_relative_to(target) and path.is_file() and digest(path) == sha256:
                path.unlink()


def _refuse_a_file(target: Path) -> None:
    for path in (target, *target.parents):
        if path.is_dir():
            return
        if path.exists():
            raise NOT_A_FOLDER.error(file=str(path), name=path.name)


@contextlib.contextmanager
def _as_input_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # the last two: a circle of symbolic links, a NUL in a name
        if not isinstance(error, OSError):
            raise CANNOT_WRITE.error(file=str(folder), why=str(error)) from error
        why = f"{error.strerror or error}" + (f" ({error.filename})" if error.filename and str(error.filename) != str(folder) else "")
        kind = DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else CANNOT_WRITE
        raise kind.error(file=str(folder), why=why) from error
