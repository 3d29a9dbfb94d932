"""Results of single points on disk: appended as they come, readable after a kill at any moment.

A store is a folder. ``store.json`` says which hpcsim made it. Every process that computes appends lines to a file of its own, one
write a line, each with its checksum; a line that was cut off or damaged is not counted, so its point is simply run again. When all
points are there, the files are merged into one by an atomic rename.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import zlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hpcsim.base.errors import problem_kind
from hpcsim.results.provenance import code_fingerprint, version

__all__ = ["Store"]

STALE = problem_kind(
    "stale-store",
    "the results in {folder} were made by {other}, this is {own}",
    "leave --resume out to begin anew, choose another --out, or use the hpcsim that made them",
)
NO_STORE = problem_kind(
    "not-a-store", "{folder} holds no results of a sweep that can be read: {why}", "leave --resume out, or choose another folder"
)
STORE_WRITE = problem_kind(
    "store-write",
    "the results cannot be kept in {folder}: {why}",
    "free some space or mend the rights, then go on with --resume; nothing that was done is lost",
)

_FORMAT = 1
_HEAD = "store.json"
_MERGED = "points.jsonl"


@cache
def _whoami(pid: int) -> str:
    return f"{socket.gethostname()}-{pid}-{os.urandom(3).hex()}"


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the sound records of a file and the number of lines that are cut off or damaged."""
    records, bad = [], 0
    *lines, tail = path.read_bytes().split(b"\n")
    for line in lines:
        head, _, text = line.partition(b" ")
        try:
            if int(head, 16) != zlib.crc32(text):
                raise ValueError("checksum")
            records.append(json.loads(text))
        except ValueError:
            bad += 1
    return records, bad + bool(tail)


class Store:
    """One folder of results; see the module.

    Parameters
    ----------
    folder : path
        Made when the first result is kept.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._file: Any = None
        self._owner = -1
        self._made: list[Path] = []

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        return (type(self), (self.folder,))

    @property
    def exists(self) -> bool:
        """Whether there is such a store."""
        return (self.folder / _HEAD).exists()

    def check(self) -> None:
        """Refuse a store that another hpcsim made, or that cannot be read.

        Raises
        ------
        InputError
            ``stale-store`` or ``not-a-store``.
        """
        try:
            head = json.loads((self.folder / _HEAD).read_text("utf-8"))
            other = (head["format"], head["hpcsim"], head["code"])
        except FileNotFoundError:
            if self.folder.exists() and not (self.folder.is_dir() and all(p.name.startswith(".") for p in self.folder.iterdir())):
                raise NO_STORE.error(folder=str(self.folder), why=f"{_HEAD} is missing") from None
            return
        except (OSError, ValueError, TypeError, KeyError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else f"{_HEAD} is damaged"
            raise NO_STORE.error(folder=str(self.folder), why=why) from None
        own = (_FORMAT, version(), code_fingerprint())
        if other != own:
            what = [f"hpcsim {v} (code {str(c)[:12]})" for _, v, c in (other, own)]
            raise STALE.error(folder=str(self.folder), other=what[0], own=what[1])

    def load(self) -> tuple[dict[str, dict[str, Any]], int]:
        """Return the results by key, and the number of records that were damaged and are to be run again."""
        found: dict[str, dict[str, Any]] = {}
        damaged = 0
        with self._guard():
            for path in sorted(self.folder.glob("*.jsonl")) if self.folder.is_dir() else ():
                records, bad = _read(path)
                damaged += bad
                for record in records:
                    found.setdefault(record["key"], record)
        return found, damaged

    def put(self, record: Mapping[str, Any]) -> None:
        """Append one result; it is there once this returns, whatever becomes of the process."""
        with self._guard():
            if self._file is None or self._owner != os.getpid():
                self.begin()
                self._owner = os.getpid()
                self._file = open(self.folder / f"{_whoami(self._owner)}.jsonl", "ab", buffering=0)  # noqa: SIM115 (stays open)
            line = _line(record)
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def begin(self) -> None:
        """Make the folder and say which hpcsim writes to it."""
        with self._guard():
            if not self.exists:
                self._made = [path for path in self.folder.parents if not path.exists()]
                self.folder.mkdir(parents=True, exist_ok=True)
                head = json.dumps({"format": _FORMAT, "hpcsim": version(), "code": code_fingerprint()}) + "\n"
                self._replace(self.folder / _HEAD, head.encode())

    def merge(self, order: Iterable[str]) -> None:
        """Put all results into one file, those in ``order`` first, and remove the files of single processes."""
        found, _ = self.load()
        ordered = [key for key in dict.fromkeys(order) if key in found]
        rest = sorted(set(found) - set(ordered))
        with self._guard():
            single = [path for path in self.folder.glob("*.jsonl") if path.name != _MERGED]
            if single:
                self._replace(self.folder / _MERGED, b"".join(_line(found[key]) for key in (*ordered, *rest)))
            self.close()
            for path in single:
                path.unlink(missing_ok=True)

    def _replace(self, path: Path, content: bytes) -> None:
        partial = path.with_name(f".{path.name}.{_whoami(os.getpid())}")
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)

    def set_aside(self) -> None:
        """Put an earlier store out of the way, as ``<folder>.before``, until :meth:`forget_earlier`."""
        with self._guard():
            if self.folder.is_dir():
                self.forget_earlier()
                os.replace(self.folder, self.earlier)

    def recover(self) -> None:
        """Put an earlier store back where a kill came before the new one held anything."""
        with self._guard():
            if self.earlier.is_dir() and not (self.folder.is_dir() and any(self.folder.glob("*.jsonl"))):
                shutil.rmtree(self.folder, ignore_errors=True)
                os.replace(self.earlier, self.folder)

    @property
    def earlier(self) -> Path:
        """Where :meth:`set_aside` puts an earlier store."""
        return self.folder.with_name(self.folder.name + ".before")

    def forget_earlier(self) -> None:
        """Remove what :meth:`set_aside` kept."""
        shutil.rmtree(self.earlier, ignore_errors=True)

    def remove(self) -> None:
        """Remove the store, and put an earlier one back."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            for path in self._made:
                path.rmdir()
        with contextlib.suppress(OSError):
            if self.earlier.is_dir():
                os.replace(self.earlier, self.folder)

    def close(self) -> None:
        """Close this process's file."""
        if self._file is not None and self._owner == os.getpid():
            self._file.close()
        self._file = None

    @contextlib.contextmanager
    def _guard(self) -> Any:
        try:
            yield
        except OSError as error:
            raise STORE_WRITE.error(folder=str(self.folder), why=error.strerror or str(error)) from error
