"""Make `import torchvision` work where a CUDA build of torchvision stands beside a CPU build of torch.

Package registries may offer torchvision only as a CUDA build. Under a CPU build of torch its compiled
operators do not load, and `import torchvision` ends in "operator torchvision::nms does not exist", which
takes timm, peft and the Llama classes of transformers down with it. `make setup` runs this script. It
imports torchvision in a subprocess and does nothing unless the import fails in exactly that way; then it
puts the import hook `torchvision_schemas.py`, and a `.pth` file that installs it, into site-packages of the
Python that runs the script. It neither installs nor removes packages.
"""

import py_compile
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

SYMPTOM = "operator torchvision::nms does not exist"
HOOK = Path(__file__).with_name("torchvision_schemas.py")
HOOK_MODULE = "_torchvision_schemas"


def import_error(python: str) -> str:
    """Return what `import torchvision` writes to stderr under the interpreter `python`; "" if it succeeds."""
    done = subprocess.run([python, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def install_hook(site_packages: Path) -> None:
    """Copy the hook into `site_packages` and let a `.pth` file install it at every start of Python."""
    module = site_packages / f"{HOOK_MODULE}.py"
    shutil.copyfile(HOOK, module)
    # Read at every start of Python, where PYTHONDONTWRITEBYTECODE would let it be compiled anew each time.
    py_compile.compile(str(module), doraise=True)
    pth = site_packages / f"{HOOK_MODULE}.pth"
    pth.write_text(f"import {HOOK_MODULE}; {HOOK_MODULE}.install()\n", encoding="utf-8")


def main() -> int:
    """Check, repair if needed, check again; return 1 if torchvision still cannot be imported."""
    error = import_error(sys.executable)
    if SYMPTOM in error:
        install_hook(Path(sysconfig.get_path("purelib")))
        print("torchvision's compiled operators do not fit this torch: an import hook declares their schemas")
        error = import_error(sys.executable)
    if error:
        print(f"torchvision cannot be imported: {error.strip().splitlines()[-1]}", file=sys.stderr)
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main())
