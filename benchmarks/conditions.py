"""Under which conditions the figures of a benchmark came about; every file of figures holds them beside the figures.

Does not: measure anything, or wait for an idle machine.
"""

import os
import sys
from pathlib import Path
from typing import Any

from wegeft.records.provenance import collect_provenance


def conditions() -> dict[str, Any]:
    """The load of the last minute, to be asked for before measuring; command, commit, packages and machine."""
    command = ["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
    return {"load_before": os.getloadavg()[0], "provenance": collect_provenance(command)}
