"""The table that holds the planning model against the records."""

from typing import Any

import pytest

from tests.records.factory import make_config, make_record
from wegeft.tables.estimates import estimates_table
from wegeft.tables.rows import make_rows

WORK = {"flops": 4e9, "product_bytes": 1e8, "bytes": 1e9, "kernels": 1000.0, "tensor_bytes": 1e8}


def rows(slow: float = 1.0) -> Any:
    """Four methods whose steps take what their bytes say; RED takes ``slow`` times as long."""
    records = []
    for number, method in enumerate(("lora", "dora", "red", "full"), start=1):
        for seed in (42, 43):
            config = make_config(method, seed)
            config["model"]["dtype"] = "float32"
            config["method"]["_target_"] = f"methods.{method}"
            record = make_record(config)
            seconds = 10.0 * number * (slow if method == "red" else 1.0)
            work = {name: value * number for name, value in WORK.items()}
            record["training"] |= {"seconds": seconds, "work": work, "peak_memory_bytes": int(7e8 + 1e8 * number)}
            records.append(record)
    return make_rows(records)


def test_a_machine_that_follows_the_model_is_estimated_rightly() -> None:
    table = estimates_table(rows())
    (block,) = table.blocks
    assert [row.label for row in block.rows] == ["dora", "full", "lora", "red"]
    factors = [float(row.cells[3].text) for row in block.rows]
    assert factors == pytest.approx([1.0] * 4, abs=0.05)
    assert table.about == ("Time within a factor of 1.5: 4 of 4", "Memory within a factor of 1.2: 4 of 4")


def test_the_method_itself_has_no_part_in_its_estimate() -> None:
    (block,) = estimates_table(rows(slow=4.0)).blocks
    red = next(row for row in block.rows if row.label == "red")
    assert red.cells[3].text == "4.00 *"


def test_records_of_unknown_work_make_an_empty_table() -> None:
    assert estimates_table(make_rows([make_record()])).blocks == ()
