"""The repair of a torchvision that does not fit torch: done when it is needed, and in no other case.

Each test makes a small environment of its own that sees the packages of this one, but not this one's `.pth`
files, so that a repair made by `make setup` is not in the way.
"""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from scripts import repair_torchvision, torchvision_schemas

HOOK_FILES = {"_torchvision_schemas.py", "_torchvision_schemas.pth"}


class Environment:
    """A virtual environment in `folder`."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = str(folder / "bin" / "python")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site_packages = folder / "lib" / version / "site-packages"

    def see_packages_of_this_one(self) -> None:
        (self.site_packages / "packages.pth").write_text(sysconfig.get_path("purelib"))

    def add_torchvision(self, source: str) -> None:
        (self.site_packages / "torchvision.py").write_text(source)

    def repair(self) -> subprocess.CompletedProcess[str]:
        return self.run(repair_torchvision.__file__)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.python, *arguments], capture_output=True, text=True, check=False)

    def hook_files(self) -> set[str]:
        return HOOK_FILES & {path.name for path in self.site_packages.iterdir()}


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


def test_mismatched_torchvision_can_be_imported_after_the_repair(environment: Environment) -> None:
    environment.see_packages_of_this_one()

    done = environment.repair()

    assert (done.returncode, done.stderr) == (0, "")
    if not done.stdout:
        assert environment.hook_files() == set()
        pytest.skip("torchvision fits torch here")
    assert environment.hook_files() == HOOK_FILES


def test_healthy_torchvision_is_left_alone(environment: Environment) -> None:
    environment.add_torchvision("")

    done = environment.repair()

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert environment.hook_files() == set()


def test_other_failures_are_reported_and_not_repaired(environment: Environment) -> None:
    environment.add_torchvision("raise ImportError('libcudart.so.13: cannot open shared object file')")

    done = environment.repair()

    assert done.returncode == 1
    assert done.stderr == (
        "torchvision cannot be imported: ImportError: libcudart.so.13: cannot open shared object file\n"
    )
    assert environment.hook_files() == set()


def test_hook_is_installed_once_and_imports_nothing_heavy(environment: Environment) -> None:
    repair_torchvision.install_hook(environment.site_packages)

    done = environment.run(
        "-c",
        "import site, sys; site.addsitedir(sys.argv[1])\n"
        "print([type(f).__name__ for f in sys.meta_path].count('SchemaFinder'), 'torch' in sys.modules)",
        str(environment.site_packages),
    )

    assert done.stdout == "1 False\n"


def test_operators_that_torch_knows_are_not_declared_again() -> None:
    import torchvision  # noqa: F401  (declares them, by its own operators or by the hook)

    torchvision_schemas.declare_missing_operators()
