"""The rules of the house, read from the source with ``ast`` alone: which layer imports what, and a few rules of manner.

Every rule is held twice: the package must pass it, and a planted violation must fail it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hpcsim"

RANKS = {
    "base": 0,
    "cost": 1,
    "results": 1,
    "scenario": 1,
    "catalog": 2,
    "cluster": 3,
    "workload": 4,
    "scheduling": 5,
    "engine": 6,
    "run": 7,
    "evidence": 7,
    "study": 8,
    "report": 8,
    "cli": 9,
    "testing": 10,
    "": 11,  # hpcsim itself: the lazy front that names every public verb
}
"""A layer imports itself and layers of a lower rank."""

ONLY = {"catalog": {"base", "scenario"}, "report": {"base", "results"}, "evidence": {"base", "results"}}
"""Layers that may use fewer of the lower ones."""

THIRD_PARTY = {
    "base": {"numpy"},
    "cost": {"numba", "numpy"},
    "results": {"numpy", "pandas", "pyarrow"},
    "scenario": {"pydantic", "pydantic_core", "yaml"},
    "catalog": {"numpy", "pandas", "pydantic", "yaml"},
    "cluster": {"networkx", "numpy"},
    "workload": {"numpy", "pandas", "pydantic", "zstandard"},
    "scheduling": {"numpy"},
    "engine": {"numpy", "simpy"},
    "run": {"numpy", "pandas"},
    "evidence": {"numpy", "pandas", "yaml"},
    "study": {"distributed", "numpy", "pandas", "scipy", "torch", "yaml"},
    "report": {"matplotlib", "numpy", "pandas"},
    "cli": set(),
    "testing": {"hypothesis", "numpy", "pydantic", "pytest"},
    "": set(),
}
"""What a layer may use besides the standard library."""

SLOW_TO_LOAD = {"pandas", "matplotlib", "scipy", "pyarrow", "distributed", "numba"}
NEVER_AT_HELP = SLOW_TO_LOAD | {"numpy", "networkx", "pydantic", "pydantic_core", "yaml", "simpy"}
LOADED_BY_CHECK = {"base", "cost", "scenario", "catalog", "cluster", "workload", "scheduling", "run"}
COMPUTED_IMPORTS = {"", "cli", "testing"}
NO_NAMES = {"utils", "util", "common", "misc", "manager", "helper", "helpers"}
MOST_LINES, MOST_LINES_OF_FUNCTION = 650, 70
"""Of a module, and of a function without its docstring."""


class Import(NamedTuple):
    """One import: the layer and place it stands in, what it names, and when it happens."""

    layer: str
    place: str
    target: str
    on_load: bool
    for_types: bool


def _layer(parts: tuple[str, ...]) -> str:
    if len(parts) == 1:
        return "" if parts[0] in ("__init__.py", "__main__.py") else parts[0].removesuffix(".py")
    return parts[0]


def _names_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")


_MODULE = re.compile(r"hpcsim(?:\.\w+)+(?::\w+)?")


def _choices(node: ast.expr) -> list[ast.expr]:
    return [*_choices(node.body), *_choices(node.orelse)] if isinstance(node, ast.IfExp) else [node]


def _literal_start(node: ast.expr, own: str) -> str | None:
    """Return the module that a string argument names, or the package that it certainly lies in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr) and node.values:
        first = node.values[0]
        if isinstance(first, ast.Constant):
            return str(first.value).rpartition(".")[0] or None
        if isinstance(first, ast.FormattedValue) and isinstance(first.value, ast.Name) and first.value.id in ("__name__", "__package__"):
            return own
    return None


class _Collector(ast.NodeVisitor):
    def __init__(self, layer: str, place: str, package: list[str]) -> None:
        self.layer, self.place, self.package = layer, place, package
        self.found: list[Import] = []
        self.in_function = self.for_types = False
        self.computed: list[ast.Call] = []

    def note(self, node: ast.AST, target: str) -> None:
        place = f"{self.place}:{getattr(node, 'lineno', 0)}"
        self.found.append(Import(self.layer, place, target, not self.in_function, self.for_types))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.note(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            kept = self.package[: len(self.package) - node.level + 1]
            base = ".".join([*kept, base] if base else kept)
        for alias in node.names:
            self.note(node, f"{base}.{alias.name}")

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
        if name in ("import_module", "__import__") and node.args:
            targets = [target for part in _choices(node.args[0]) if (target := _literal_start(part, ".".join(self.package)))]
            if targets:
                for target in targets:
                    self.note(node, target)
            else:
                self.computed.append(node)
        self.generic_visit(node)

    def visit_Module(self, node: ast.Module) -> None:
        """A module that imports what a table of names says is held to every name that stands in it."""
        self.generic_visit(node)
        named = [c for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str) and _MODULE.fullmatch(c.value)]
        if self.computed:
            self.in_function = True
            for constant in named:
                self.note(constant, str(constant.value).partition(":")[0])
            if not named:
                self.note(self.computed[0], "<computed>")

    def visit_If(self, node: ast.If) -> None:
        if _names_type_checking(node.test):
            self.for_types, before = True, self.for_types
            for item in node.body:
                self.visit(item)
            self.for_types = before
            for item in node.orelse:
                self.visit(item)
        else:
            self.generic_visit(node)

    def _function(self, node: ast.AST) -> None:
        self.in_function, before = True, self.in_function
        self.generic_visit(node)
        self.in_function = before

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function


parsed = cache(ast.parse)
"""The tree of a module's text, which nobody changes."""


def modules(package: Path) -> Iterator[tuple[Path, tuple[str, ...], ast.Module]]:
    for path in sorted(package.rglob("*.py")):
        yield path, path.relative_to(package).parts, parsed(path.read_text(encoding="utf-8"))


@cache
def _imports_of(tree: ast.Module, name: str, parts: tuple[str, ...]) -> list[Import]:
    collector = _Collector(_layer(parts), "/".join((name, *parts)), [name, *parts[:-1]])
    collector.visit(tree)
    return collector.found


def imports(package: Path) -> list[Import]:
    return [item for _, parts, tree in modules(package) for item in _imports_of(tree, package.name, parts)]


def import_faults(package: Path) -> list[str]:
    """Return every import that breaks a rule, as ``file:line: rule: target``."""
    faults = []
    for item in imports(package):
        top, _, rest = item.target.partition(".")
        rank = RANKS.get(item.layer)
        if rank is None:
            faults.append(f"{item.place}: unknown layer: {item.layer}")
            continue
        if item.target == "<computed>":
            if item.layer not in COMPUTED_IMPORTS:
                faults.append(f"{item.place}: computed import: {item.layer}")
        elif top == package.name:
            faults += _inside(item, rest.split(".")[0])
        elif top not in sys.stdlib_module_names:
            if top not in THIRD_PARTY[item.layer]:
                faults.append(f"{item.place}: third party: {item.layer} imports {top}")
            elif item.on_load and not item.for_types and top in SLOW_TO_LOAD and item.layer in LOADED_BY_CHECK:
                faults.append(f"{item.place}: slow to load: {top} belongs inside the function that needs it")
    return faults


def _inside(item: Import, target: str) -> list[str]:
    if target == "__version__":
        return []
    layer = target if target in RANKS else ""
    if layer == item.layer or (item.for_types and item.layer == ""):
        return []
    if item.layer in ("", "cli") and item.on_load and not item.for_types and (layer, item.target.split(".")[2:3]) != ("base", ["errors"]):
        return [] if item.layer == "" and layer == "cli" else [f"{item.place}: loaded at help: {item.target}"]
    if layer == "" and item.layer in ("cli", "testing"):
        return []
    if RANKS[layer] >= RANKS[item.layer]:
        return [f"{item.place}: upward: {item.layer} imports {layer or 'the front'}"]
    if layer not in ONLY.get(item.layer, {layer}):
        return [f"{item.place}: not among its layers: {item.layer} imports {layer}"]
    return []


def manner_faults(package: Path) -> list[str]:
    """Return modules and functions that are badly named or too long, and prints outside the command line."""
    faults = []
    for folder in sorted({path.parent for path in package.rglob("*.py")} - {package}):
        if not (folder / "__init__.py").exists():  # neither an installer nor a walk over the package would find it
            faults.append(f"{folder.relative_to(package.parent).as_posix()}: no package: __init__.py is missing")
    for path, parts, tree in modules(package):
        place = "/".join((package.name, *parts))
        for part in parts:
            if part.removesuffix(".py") in NO_NAMES:
                faults.append(f"{place}: name: {part}")
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES:
            faults.append(f"{place}: too long: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print" and parts[0] != "cli":
                faults.append(f"{place}:{node.lineno}: print: outside the command line")
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = node.body[1:2] if ast.get_docstring(node, clean=False) is not None else node.body
                body = (node.end_lineno or node.lineno) - first[0].lineno + 1 if first else 0
                if body > MOST_LINES_OF_FUNCTION:
                    faults.append(f"{place}:{node.lineno}: long function: {node.name} has {body} lines")
    return faults


def _words(*parts: str) -> str:
    return "".join(parts)


FORBIDDEN = {
    "a folder of one machine": re.compile(_words(r"(?<![\w.$}-])/wo", r"rk(?:/|\b)|/tm", r"p/(?:ve", r"nv|br", r"ief)")),
    "a package registry": re.compile(
        _words(r"py", r"pi\.org|python", r"hosted\.org|crates\.", r"io/|registry\.npm", r"js|proxy\.gol", r"ang")
    ),
    "how it was written": re.compile(_words(r"\bsub-?", r"agents?\b|\b(?:this|another|earlier|previous) ses", r"sion\b|\bhelper [A-Z]\b")),
}
OUTSIDE_TESTS = re.compile(_words(r"\.\./sha", r"red\b"))
PASSED_OVER = {".git", "__pycache__", ".venv", "venv", "build", "dist", "out", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}


def text_faults(root: Path) -> list[str]:
    """Return places of the repository that name what a reader of it cannot have."""
    faults = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(n for n in names if n not in PASSED_OVER and not n.endswith(".egg-info"))
        for file in sorted(set(files) - PASSED_OVER):  # in a linked work tree .git is a file
            path = Path(folder, file)
            if path.stat().st_size > 4_000_000:
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            place = path.relative_to(root)
            rules = dict(FORBIDDEN) if place.parts[0] == "tests" else FORBIDDEN | {"a folder beside the repository": OUTSIDE_TESTS}
            for what, pattern in rules.items():
                faults += [f"{place}:{text[: m.start()].count(chr(10)) + 1}: {what}: {m[0]}" for m in pattern.finditer(text)]
    return faults


# The house itself


def test_imports_point_down() -> None:
    assert import_faults(PACKAGE) == []


def test_the_checker_sees_the_package() -> None:
    seen = imports(PACKAGE)
    assert {"base", "scenario", "cli"} <= {item.layer for item in seen}
    assert any(item.target.startswith("hpcsim.base.errors") and item.layer == "scenario" for item in seen)
    assert any(not item.on_load for item in seen)


def test_names_and_lengths() -> None:
    assert manner_faults(PACKAGE) == []


def test_repository_names_nothing_that_a_reader_lacks() -> None:
    assert text_faults(ROOT) == []


# Planted violations


def plant(tmp_path: Path, **files: str) -> Path:
    package = tmp_path / "hpcsim"
    for name, text in files.items():
        folder, _, module = name.partition("__")
        path = package / folder / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        (path.parent / "__init__.py").touch()
    return package


PLANTED = {
    "up": ("base__a", "from hpcsim.cost import laws", "upward"),
    "up, by the module": ("cost__a", "import hpcsim.engine.clock", "upward"),
    "up, from the package": ("workload__a", "from hpcsim import scheduling", "upward"),
    "up, relative": ("cluster__a", "from ..workload import jobs", "upward"),
    "up, relative package": ("cluster__a", "from .. import engine", "upward"),
    "up, in a function": ("scenario__a", "def f():\n    from hpcsim.catalog import lookup\n    return lookup", "upward"),
    "up, in a method": ("scheduling__a", "class A:\n    def f(self):\n        import hpcsim.engine", "upward"),
    "up, for types": ("results__a", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from hpcsim.run import bind", "upward"),
    "up, by name": ("engine__a", 'import importlib\nimportlib.import_module("hpcsim.run.bind")', "upward"),
    "up, by built-in": ("engine__a", '__import__("hpcsim.study.sweep")', "upward"),
    "up, by the start of a name": ("run__a", 'import importlib\ndef f(x):\n    importlib.import_module(f"hpcsim.cli.{x}")', "upward"),
    "up, by a lambda": ("base__a", 'f = lambda: __import__("hpcsim.cost")', "upward"),
    "sideways": ("cost__a", "from hpcsim.results import tables", "upward"),
    "sideways between study and report": ("study__a", "from hpcsim.report import html", "upward"),
    "to the front": ("engine__a", "import hpcsim\nhpcsim.simulate", "upward"),
    "a verb of the front": ("catalog__a", "from hpcsim import simulate", "upward"),
    "up, by a choice": ("cost__a", 'import importlib\nimportlib.import_module("hpcsim.cost.laws" if 1 else "hpcsim.run.bind")', "upward"),
    "up, by a table": ("cost__a", 'import importlib\nT = ("hpcsim.run.bind",)\nfor n in T:\n    importlib.import_module(n)', "upward"),
    "computed": ("base__a", "import importlib\ndef f(x):\n    return importlib.import_module(x)", "computed import"),
    "report to run": ("report__a", "from hpcsim.run import bind", "not among its layers"),
    "catalog to cost": ("catalog__a", "from hpcsim.cost import laws", "not among its layers"),
    "simpy outside engine": ("run__a", "def f():\n    import simpy", "third party: run imports simpy"),
    "matplotlib outside report": ("study__a", "def f():\n    import matplotlib.pyplot as plt", "third party: study imports matplotlib"),
    "networkx outside cluster": ("workload__a", "from networkx import Graph", "third party: workload imports networkx"),
    "pandas in cost": ("cost__a", "def f():\n    import pandas as pd", "third party: cost imports pandas"),
    "pydantic in base": ("base__a", "import pydantic", "third party: base imports pydantic"),
    "unheard-of": ("engine__a", "import torch", "third party: engine imports torch"),
    "slow on load": ("workload__a", "import pandas as pd", "slow to load"),
    "slow on load, in a branch": ("run__a", "try:\n    import pandas\nexcept ImportError:\n    pass", "slow to load"),
    "the front loads": ("__init__", "from hpcsim.scenario.load import load", "loaded at help"),
    "a command loads": ("cli__check", "from hpcsim.run.bind import bind", "loaded at help"),
    "a layer without a rank": ("extras__a", "import os", "unknown layer"),
}


@pytest.mark.parametrize("case", PLANTED, ids=lambda case: case.replace(" ", "-").replace(",", ""))
def test_planted_import_is_found(case: str, tmp_path: Path) -> None:
    name, text, rule = PLANTED[case]
    name = "__init__" if name == "__init__" else name
    package = tmp_path / "hpcsim"
    path = package / (f"{name}.py" if name == "__init__" else name.replace("__", "/") + ".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    faults = import_faults(package)
    assert len(faults) == 1, faults
    assert rule in faults[0]
    assert faults[0].startswith(f"hpcsim/{path.relative_to(package).as_posix()}:")


def test_what_is_allowed_is_not_found(tmp_path: Path) -> None:
    package = plant(
        tmp_path,
        base__a="import math\nimport numpy as np\nfrom . import errors\nfrom hpcsim import __version__\n",
        cost__a="import numpy as np\nfrom hpcsim.base import errors\nfrom .laws import wall\n",
        results__a="import pandas as pd\nfrom ..base import errors\n",
        cluster__a="import networkx as nx\nfrom hpcsim.catalog import lookup\nfrom hpcsim.cost import laws\n",
        workload__a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas as pd\ndef f():\n    import pandas as pd\n",
        engine__a="import simpy\nfrom hpcsim.scheduling import view\n",
        report__a="import matplotlib\nfrom hpcsim.results import tables\n",
        results____init__='import importlib\ndef f(n):\n    return importlib.import_module(f"{__name__}.{n}")\n',
        cli__a="def run(args):\n    from hpcsim.run.bind import bind\n    import importlib\n    importlib.import_module(args)\n",
    )
    assert import_faults(package) == []


@pytest.mark.parametrize("name", sorted(NO_NAMES))
def test_planted_name_is_found(name: str, tmp_path: Path) -> None:
    assert [f for f in manner_faults(plant(tmp_path, **{f"base__{name}": "x = 1\n"})) if "name:" in f]
    assert [f for f in manner_faults(plant(tmp_path, **{f"{name}__a": "x = 1\n"})) if "name:" in f]


def test_planted_lengths_are_found(tmp_path: Path) -> None:
    assert "too long" in manner_faults(plant(tmp_path / "a", base__a="x = 1\n" * (MOST_LINES + 1)))[0]
    assert manner_faults(plant(tmp_path / "b", base__a="x = 1\n" * MOST_LINES)) == []
    documented = 'def f():\n    """One.\n' + "    more\n" * MOST_LINES_OF_FUNCTION + '    """\n    return 1\n'
    assert manner_faults(plant(tmp_path / "d", base__a=documented)) == []
    body = "    x = 1\n" * (MOST_LINES_OF_FUNCTION + 1)
    assert "long function: f" in manner_faults(plant(tmp_path / "c", base__a=f"def f():\n{body}"))[0]


def test_planted_folder_without_init_is_found(tmp_path: Path) -> None:
    package = plant(tmp_path, base__a="x = 1\n")
    assert manner_faults(package) == []
    (package / "base" / "__init__.py").unlink()
    assert manner_faults(package) == ["hpcsim/base: no package: __init__.py is missing"]


def test_planted_print_is_found(tmp_path: Path) -> None:
    assert "print" in manner_faults(plant(tmp_path / "a", run__a="def f():\n    print(1)\n"))[0]
    assert manner_faults(plant(tmp_path / "b", cli__a="print(1)\n")) == []


@pytest.mark.parametrize(
    "text",
    [
        _words("see /wo", "rk/main/x"),
        _words("at /wo", "rk."),
        _words("https://py", "pi.org/simple"),
        _words("from files.python", "hosted.org"),
        _words("as this ses", "sion found"),
        _words("../sha", "red/evidence"),
    ],
)
def test_planted_words_are_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"one\n{text}\n", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe" + text.encode())
    faults = text_faults(tmp_path)
    assert len(faults) == 1
    assert faults[0].startswith("README.md:2: ")


def test_ordinary_words_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("the work/life of a node, docs/work/x, a helper, session keys, ${x}/workload\n", encoding="utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.py").write_text(_words("../sha", "red/evidence/traces"), encoding="utf-8")
    assert text_faults(tmp_path) == []


# What is loaded, measured in a fresh interpreter


def loaded_by(code: str) -> set[str]:
    """Return the top-level names of the modules that ``code`` leaves loaded."""
    script = f"{code}\nimport sys, json\nsys.stderr.write(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_by("import contextlib\nfrom hpcsim.cli.main import main\nwith contextlib.suppress(SystemExit):\n    main(['--help'])")
    assert "argparse" in loaded
    assert loaded & NEVER_AT_HELP == set()


def test_import_of_the_front_loads_nothing_heavy() -> None:
    assert loaded_by("import hpcsim") & NEVER_AT_HELP == set()


def test_check_loads_nothing_slow() -> None:
    if not (PACKAGE / "run" / "bind.py").exists():
        pytest.skip("the second check is not built yet")
    scenarios = sorted(str(p) for p in (ROOT / "scenarios").glob("*.yaml"))
    loaded = loaded_by(f"from hpcsim.cli.main import main\nassert main(['check', *{scenarios!r}]) == 0")
    assert "pydantic" in loaded
    assert loaded & {"pandas", "matplotlib", "scipy", "networkx"} == set()
