"""The rules of the house that a machine can hold, beside the import contracts in ``pyproject.toml``.

Every rule returns its offences as ``file:line what``, so that a failure reads as a list of things to do.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("gateway", "services", "shared")
PYTHON = (*PRODUCT, "infrastructure", "tests", "benchmarks")
NOT_OURS = {"node_modules", "peers", "results", "__pycache__"}
DRIVER = {"pymongo", "bson", "gridfs", "motor"}
DRIVER_IN_SHARED = {
    f"shared/{name}.py" for name in ("mongo", "outbox", "leases", "idempotency", "inbox", "projections/generations")
}
TARGETS = (
    *("help", "run", "up", "down", "status", "demo", "token", "test", "test-unit"),
    *("check", "fix", "bench", "torture", "lock", "clean", "rebuild", "compare", "sbom"),
    "deployment-env",
)
# Written in pieces, so that this file does not hold what it looks for.
PACKAGE_HOSTS = [
    f"{name}.{end}"
    for name, end in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("unpkg", "com"),
        ("jsdelivr", "net"),
        ("crates", "io"),
        ("proxy.golang", "org"),
        ("rubygems", "org"),
    )
]
SOMEBODYS_FOLDER = re.compile(r"(?<![\w.}:/-])(?:/(?:home|Users|root|work)/|[A-Z]:\\Users\\)[\w.-]+")
CONFIGURATION = {
    ".toml",
    ".lock",
    ".cfg",
    ".ini",
    ".yml",
    ".yaml",
    ".npmrc",
    ".json",
    ".txt",
    ".mk",
    ".env",
    ".example",
}
TEXT = {*CONFIGURATION, ".py", ".md", ".sh", ".ts", ".vue", ".js", ".css", ".html", ".conf", ""}

Offences = Iterator[str]


# A test is read top to bottom like a story, and splitting one hides what it does; what it may not be is endless.
# The verifier for outsiders is copied as one file (docs/adr/0019-proofs-for-outsiders.md).
LONGEST_FILE = {"tests": 600, "services/audit/bundle.py": 500}
LONGEST_FUNCTION = {"tests": 70}


def _limit(limits: dict[str, int], file: Path, otherwise: int) -> int:
    return limits.get(_name(file), limits.get(_name(file).split("/", 1)[0], otherwise))


def test_every_file_can_be_read_in_a_sitting() -> None:
    _none(
        f"{_name(file)} has {lines} lines"
        for file in _python()
        if (lines := _text(file).count("\n")) > _limit(LONGEST_FILE, file, 400)
    )


def test_every_function_fits_a_screen() -> None:
    _none(_long_functions(file) for file in _python())


def test_no_constructor_takes_more_than_six_arguments() -> None:
    _none(_wide_constructors(file) for file in _python())


def test_no_file_is_called_utils() -> None:
    shapeless = {"utils.py", "util.py", "helpers.py", "helper.py", "misc.py", "common.py"}
    _none(_name(file) for file in _python() if file.name in shapeless)


def test_only_repositories_and_six_modules_of_shared_import_the_driver() -> None:
    allowed = {*(f for f in _python(*PRODUCT) if f.name == "repository.py" and _name(f).startswith("services/"))}
    allowed |= {ROOT / name for name in DRIVER_IN_SHARED}
    _none(_imports_of(file, DRIVER) for file in _python(*PRODUCT) if file not in allowed)


def test_models_and_use_cases_import_no_framework() -> None:
    web = {"fastapi", "starlette", "uvicorn"}
    core = [file for file in _python("services") if file.name in {"models.py", "service.py"}]
    assert core
    _none(_imports_of(file, web | DRIVER) for file in core)


def test_services_know_neither_each_other_nor_the_gateway() -> None:
    for service in _services():
        others = {f"services.{other.name}" for other in _services() if other != service}
        _none(_imports_of(file, others | {"gateway"}) for file in _python(_name(service)))


def test_the_product_neither_imports_nor_mentions_what_stands_in_for_the_outside() -> None:
    word = re.compile("sand" + "box", re.IGNORECASE)
    _none(_lines_with(file, word) for file in _python(*PRODUCT))


def test_the_product_does_not_use_the_test_kit() -> None:
    outside = [file for file in _python(*PRODUCT) if not _name(file).startswith("shared/testing/")]
    _none(_imports_of(file, {"shared.testing", "infrastructure", "tests", "pytest"}) for file in outside)


def test_middleware_is_plain_asgi_and_what_must_happen_is_no_background_task() -> None:
    _none(_uses(file, {"BaseHTTPMiddleware", "BackgroundTasks", "BackgroundTask"}) for file in _python(*PRODUCT))


def test_services_raise_domain_errors_and_no_http() -> None:
    _none(_uses(file, {"HTTPException"}) for file in _python("services"))


def test_no_settings_are_made_at_import() -> None:
    _none(_settings_at_import(file) for file in _python(*PRODUCT))


def test_every_service_has_a_readme() -> None:
    assert _services()
    _none(f"{_name(service)}/README.md is missing" for service in _services() if not (service / "README.md").exists())


def test_every_service_and_the_gateway_run_alone() -> None:
    homes = [ROOT / "gateway", *_services()]
    _none(f"{_name(home)}/__main__.py is missing" for home in homes if not (home / "__main__.py").exists())


@pytest.mark.parametrize("target", TARGETS)
def test_a_promised_make_target_exists_and_says_what_it_does(target: str) -> None:
    rule = re.compile(rf"^{target}:[^=\n]*## \S", re.MULTILINE)
    assert rule.search(_text(ROOT / "Makefile")), f"make {target}"


def test_no_lock_and_no_configuration_names_a_package_host() -> None:
    host = re.compile("|".join(re.escape(name) for name in PACKAGE_HOSTS), re.IGNORECASE)
    wanted = [f for f in _files() if f.suffix in CONFIGURATION or f.name in {"Makefile", "Dockerfile", "run"}]
    assert {ROOT / "requirements.lock", ROOT / "requirements-dev.lock", ROOT / ".ci" / "run"} <= {*wanted}
    _none(_lines_with(file, host) for file in wanted)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_holds_hashes_and_no_address(lock: str) -> None:
    text = _text(ROOT / lock)
    pinned = re.findall(r"^[a-zA-Z0-9][^\s=]*==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-zA-Z0-9]", text, re.MULTILINE)) > 50
    assert "://" not in text
    assert "--index" not in text


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    _none(_lines_with(file, SOMEBODYS_FOLDER) for file in _files() if file.suffix in TEXT)


def _long_functions(file: Path) -> Offences:
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > _limit(LONGEST_FUNCTION, file, 40):
                yield f"{_name(file)}:{node.lineno} {node.name} has {lines} lines"


def _wide_constructors(file: Path) -> Offences:
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            given = node.args
            count = len([*given.posonlyargs, *given.args, *given.kwonlyargs]) - 1
            if count > 6:
                yield f"{_name(file)}:{node.lineno} __init__ takes {count} arguments"


def _imports_of(file: Path, forbidden: set[str]) -> Offences:
    for node in ast.walk(_tree(file)):
        for module in _imported(node):
            if any(module == name or module.startswith(f"{name}.") for name in forbidden):
                yield f"{_name(file)}:{node.lineno} imports {module}"  # type: ignore[attr-defined]
                break


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        # «from services import audit» imports services.audit.
        return [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names if node.module]
    return []


def _uses(file: Path, names: set[str]) -> Offences:
    for node in ast.walk(_tree(file)):
        used = set()
        if isinstance(node, ast.Name):
            used = {node.id}
        elif isinstance(node, ast.Attribute):
            used = {node.attr}
        elif isinstance(node, ast.ImportFrom):
            used = {alias.name for alias in node.names}
        for name in sorted(used & names):
            yield f"{_name(file)}:{node.lineno} uses {name}"  # type: ignore[attr-defined]


def _settings_at_import(file: Path) -> Offences:
    for node in _tree(file).body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr) else None
        if isinstance(value, ast.Call):
            made = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
            reads = made in {"load", "get_settings"} and "settings" in ast.dump(value).lower()
            if made.endswith("Settings") or reads:
                yield f"{_name(file)}:{node.lineno} makes settings at import"


def _lines_with(file: Path, pattern: re.Pattern[str]) -> Offences:
    for number, line in enumerate(_text(file).splitlines(), start=1):
        if found := pattern.search(line):
            yield f"{_name(file)}:{number} {found.group()}"


def _none(offences: Iterator[str] | Iterator[Offences]) -> None:
    flat = [found for item in offences for found in ([item] if isinstance(item, str) else item)]
    assert not flat, "\n" + "\n".join(flat)


def _services() -> list[Path]:
    return sorted(path.parent for path in (ROOT / "services").glob("*/__init__.py"))


def _python(*folders: str) -> list[Path]:
    wanted = tuple(f"{folder}/" for folder in folders or PYTHON)
    return [file for file in _files() if file.suffix == ".py" and _name(file).startswith(wanted)]


@cache
def _files() -> tuple[Path, ...]:
    """The files of the project; what a tool made or downloaded lies in a folder that begins with a dot."""
    found: list[Path] = []
    folders = [ROOT]
    while folders:
        for path in folders.pop().iterdir():
            if path.is_dir():
                if path.name not in NOT_OURS and (not path.name.startswith(".") or path.name == ".ci"):
                    folders.append(path)
            elif path.name != ".env":
                found.append(path)
    return tuple(sorted(found))


@cache
def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(_text(file), str(file))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


@pytest.mark.parametrize(
    ("rule", "code", "offends"),
    [
        (_long_functions, "def f():\n" + "    x = 1\n" * 40, True),
        (_long_functions, "def f():\n" + "    x = 1\n" * 39, False),
        (_wide_constructors, "class A:\n    def __init__(self, a, b, c, *, d, e, f, g): ...", True),
        (_wide_constructors, "class A:\n    def __init__(self, a, b, c, *, d, e, f): ...", False),
        (lambda f: _imports_of(f, {"pymongo"}), "def f():\n    from pymongo.errors import X", True),
        (lambda f: _imports_of(f, {"pymongo"}), "import pymongolike", False),
        (lambda f: _imports_of(f, {"services.audit"}), "from services import audit", True),
        (lambda f: _uses(f, {"HTTPException"}), "import fastapi\nraise fastapi.HTTPException(404)", True),
        (lambda f: _uses(f, {"HTTPException"}), "from fastapi import HTTPException", True),
        (_settings_at_import, "settings = TenantSettings()", True),
        (_settings_at_import, "settings = load(TenantSettings)", True),
        (_settings_at_import, "class A:\n    model_config = SettingsConfigDict()", False),
        (lambda f: _lines_with(f, SOMEBODYS_FOLDER), "x = '/ho" + "me/jane/dezky'", True),
        (lambda f: _lines_with(f, SOMEBODYS_FOLDER), "x = 'https://a.example/work/b'", False),
    ],
)
def test_a_rule_sees_what_it_is_there_for(
    tmp_path: Path, rule: Callable[[Path], Offences], code: str, offends: bool
) -> None:
    file = tmp_path / "sample.py"
    file.write_text(code, encoding="utf-8")
    assert bool(list(rule(file))) is offends
