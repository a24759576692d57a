"""What holds for the repository as a whole: the lock, the package, the Makefile and what is committed."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import wegeft

MEGABYTE = 1_000_000
MINI_WEIGHTS = re.compile(r"src/wegeft/models/mini/.*\.safetensors")
# A folder of somebody's machine: a home, a working or an installation folder at the start of an absolute path.
MACHINE_PATH = re.compile(rb"(?<![\w.~-])/(?:home|root|work|opt|Users)/[\w.][^\s\"']*")
LONGEST_FUNCTION = 60


@pytest.fixture(scope="module")
def project(project_root: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    return project


@pytest.fixture(scope="module")
def locked(project_root: Path) -> dict[str, Requirement]:
    lines = (project_root / "requirements.lock").read_text().splitlines()
    requirements = [Requirement(line.split("  #")[0]) for line in lines if not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


@pytest.fixture(scope="module")
def tracked(project_root: Path) -> list[str]:
    if shutil.which("git") is None or not (project_root / ".git").exists():
        pytest.skip("what is committed can only be told in a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=project_root, capture_output=True, text=True, check=True
    ).stdout
    return [name for name in listing.split("\0") if (project_root / name).is_file()]


def pinned_version(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return Version(specifier.version)


def test_lock_pins_versions_and_names_no_place_or_build(locked: dict[str, Requirement]) -> None:
    assert len(locked) > 100
    for requirement in locked.values():
        assert requirement.url is None
        # A local version such as +cpu would tie the lock to one build of torch.
        assert pinned_version(requirement).local is None, requirement


def test_lock_lists_nothing_that_only_the_cuda_build_of_torch_needs(locked: dict[str, Requirement]) -> None:
    assert not [name for name in locked if name.startswith(("cuda", "nvidia", "triton"))]


def test_lock_satisfies_pyproject(project: dict[str, Any], locked: dict[str, Requirement]) -> None:
    extras = project["optional-dependencies"]
    for text in chain(project["dependencies"], *(extras[name] for name in extras.keys() - {"quantised"})):
        requirement = Requirement(text)
        version = pinned_version(locked[canonicalize_name(requirement.name)])
        assert requirement.specifier.contains(version), f"{text}, but the lock has {version}: make lock"


def test_environment_is_what_the_lock_says(locked: dict[str, Requirement]) -> None:
    wanted = {name: r for name, r in locked.items() if r.marker is None or r.marker.evaluate()}
    wrong = {
        name: importlib.metadata.version(name)
        for name, requirement in wanted.items()
        if Version(Version(importlib.metadata.version(name)).public) != pinned_version(requirement)
    }
    assert not wrong, "make setup"


def imported_packages(path: Path) -> set[str]:
    """Return the top-level packages that a source file imports, late imports included."""
    nodes = list(ast.walk(ast.parse(path.read_text(), path.name)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in plain | from_}


@pytest.mark.parametrize(
    ("sources", "extras"),
    [
        (["run.py", "src/**/*.py", "scripts/*.py", "benchmarks/**/*.py"], []),
        (["tests/**/*.py"], ["dev"]),
    ],
)
def test_what_is_imported_is_a_dependency(
    project_root: Path, project: dict[str, Any], sources: list[str], extras: list[str]
) -> None:
    texts = chain(project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras))
    declared = {canonicalize_name(Requirement(text).name) for text in texts}
    imported = set().union(*(imported_packages(p) for glob in sources for p in project_root.glob(glob)))
    foreign = imported - sys.stdlib_module_names - {"wegeft", "scripts", "tests", "run", "benchmarks"}
    distributions = importlib.metadata.packages_distributions()
    undeclared = {
        name for name in foreign if not declared & {canonicalize_name(d) for d in distributions.get(name, [])}
    }
    assert undeclared == set(), "pyproject.toml, then make lock"


def test_version_is_the_one_of_pyproject(project: dict[str, Any]) -> None:
    assert wegeft.__version__ == project["version"] == importlib.metadata.version("wegeft")


def test_wheel_holds_every_file_of_the_package(project_root: Path, tracked: list[str], tmp_path: Path) -> None:
    uv = Path(sys.prefix) / "bin" / "uv"
    subprocess.run([uv, "build", "--quiet", "--offline", "--wheel", "--out-dir", tmp_path, project_root], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {name.removeprefix("src/") for name in tracked if name.startswith("src/")} <= packed


def test_only_the_mini_weights_are_large(project_root: Path, tracked: list[str]) -> None:
    sizes = {name: (project_root / name).stat().st_size for name in tracked}
    weights = {name for name in sizes if MINI_WEIGHTS.fullmatch(name)}
    assert sum(sizes[name] for name in weights) <= 20 * MEGABYTE
    assert not {name for name in sizes.keys() - weights if sizes[name] > 10 * MEGABYTE}


def test_no_committed_file_names_a_folder_of_a_machine(project_root: Path, tracked: list[str]) -> None:
    found = {name: MACHINE_PATH.findall((project_root / name).read_bytes()) for name in tracked}
    assert {name: paths for name, paths in found.items() if paths} == {}


@pytest.mark.parametrize("before", ["", " ", '"', "(", "=", "file://"])
@pytest.mark.parametrize("folder", ["home", "root", "work", "opt", "Users"])
def test_folders_of_a_machine_are_recognised(before: str, folder: str) -> None:
    assert MACHINE_PATH.search(f"{before}/{folder}/ann".encode())


@pytest.mark.parametrize("text", ["https://example.org/home/page", "~/work/x", "data/root/x", "./opt/x"])
def test_other_paths_are_not_taken_for_folders_of_a_machine(text: str) -> None:
    assert not MACHINE_PATH.search(text.encode())


def test_makefile_has_the_promised_targets(project_root: Path) -> None:
    done = subprocess.run(["make", "-s", "help"], cwd=project_root, capture_output=True, text=True, check=True)
    targets = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"setup", "run", "test", "test-slurm", "tables", "mini-backbones"} <= targets


def test_what_the_makefile_calls_exists(project_root: Path) -> None:
    makefile = (project_root / "Makefile").read_text()
    scripts = re.findall(r"(?:python|sh) (\S+\.(?:py|sh))", makefile)
    modules = re.findall(r"python -m (wegeft\.\S+)", makefile)
    paths = scripts + [f"src/{module.replace('.', '/')}/__main__.py" for module in modules]
    assert len(paths) >= 4
    assert [path for path in paths if not (project_root / path).is_file()] == []


def test_ci_runs_lint_types_and_tests_and_ends_with_their_closing_line(project_root: Path) -> None:
    ci = project_root / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    lines = ci.read_text().splitlines()
    assert [line for line in lines if line.startswith("make ")] == [
        "make lint typecheck",
        'make test | tee "$closing"',
        "make test-slurm",
    ]
    assert lines[-1] == 'tail -n 1 "$closing"'


def statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.end_lineno - body[0].lineno + 1 if body and function.end_lineno else 0


def test_functions_are_short(project_root: Path) -> None:
    sources = [project_root / "run.py", *project_root.glob("src/**/*.py"), *project_root.glob("scripts/*.py")]
    too_long = {
        f"{path.relative_to(project_root)}:{node.lineno} {node.name}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(), path.name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and statements(node) > LONGEST_FUNCTION
    }
    assert too_long == set()
