"""The command line of the alpaca_eval package: ``python -m wegeft.evaluation.judging.alpaca_eval_main --help``.

alpaca_eval 0.6 imports ``pkg_resources``, which setuptools has dropped, for two functions that others have as well.

Does not: anything of its own.
"""

import importlib
import importlib.metadata
import importlib.util
import sys
from types import ModuleType

from packaging.version import parse


def main() -> None:
    """Run it."""
    if importlib.util.find_spec("pkg_resources") is None:
        stand_in = ModuleType("pkg_resources")
        vars(stand_in).update(parse_version=parse, get_distribution=importlib.metadata.distribution)
        sys.modules["pkg_resources"] = stand_in
    importlib.import_module("alpaca_eval.main").main()


if __name__ == "__main__":
    main()
