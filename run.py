"""The one entry point: ``python run.py method=wegeft task=commonsense``.

Composes a configuration from ``configs/`` and hands it to the package; ``python run.py --help`` lists what there is.
"""

from wegeft.cli import main

if __name__ == "__main__":
    main()
