"""Hydra parses every file again for every composition, a third of its time; here, the tests' thousand parse each once.

Does not: keep what has changed on disk, or hand out what a composition may change.
"""

import copy
from pathlib import Path
from typing import Any

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult


def parse_config_files_once() -> None:
    """Let Hydra keep what it has read of a file of configurations until that file changes."""
    Plugins.instance()  # registers the sources
    source: Any = SourcesRegistry.instance().resolve("file")
    read, kept = source.load_config, dict[tuple[Any, ...], ConfigResult]()

    def load_config(self: Any, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        state = path.stat() if path.is_file() else None
        key = (path, self.provider, state and (state.st_mtime_ns, state.st_size))
        if key not in kept:
            kept[key] = read(self, config_path)  # or says that it is not there
        return copy.deepcopy(kept[key])

    source.load_config = load_config
