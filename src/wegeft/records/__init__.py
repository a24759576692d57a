"""Records: one schema-valid JSON file per run, and the facts about where and how the run was made.

``identity`` names a run by what decides its result, ``provenance`` collects what surrounded it, ``store``
writes and reads the files, ``schema.json`` (JSON Schema 2020-12) says what a record holds. Nothing here
trains, scores or renders.
"""

from wegeft.records.identity import IGNORED_KEYS, recipe_config, run_id
from wegeft.records.provenance import collect_provenance
from wegeft.records.store import (
    SCHEMA_VERSION,
    InvalidRecord,
    Problem,
    Record,
    read_record,
    read_records,
    record_path,
    write_record,
)

__all__ = [
    "IGNORED_KEYS",
    "SCHEMA_VERSION",
    "InvalidRecord",
    "Problem",
    "Record",
    "collect_provenance",
    "read_record",
    "read_records",
    "recipe_config",
    "record_path",
    "run_id",
    "write_record",
]
