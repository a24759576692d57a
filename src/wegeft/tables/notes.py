"""The sentences above and below a table: what holds for all its rows, and what its marks mean."""

from collections.abc import Iterable, Sequence

from wegeft.tables.definition import Definition, Section
from wegeft.tables.rows import OurRow
from wegeft.tables.significance import LEVEL
from wegeft.tables.table import Block


def about(definition: Definition, section: Section, rows: Sequence[OurRow]) -> tuple[str, ...]:
    """Scale, protocol, loss mask, metric, extraction rule and what images are normalised by, as the records say."""
    facts = [f"Scale: {section.scale}", f"Protocol: {section.protocol}", f"Metric: {definition.metric}"]
    rows = [part for row in rows for part in row.parts or (row,)]
    masks = _distinct(_mask(row) for row in rows)
    extractors = _distinct(_extractor(row) for row in rows)
    facts += [f"Loss: {' and '.join(masks)}"] if masks else []
    facts += [f"Answers extracted by: {' and '.join(extractors)}"] if extractors else []
    scales = _distinct(_normalisation(row) for row in rows)
    facts += [f"Images normalised by: {' and '.join(scales)}"] if scales else []
    return tuple(facts)


def notes(definition: Definition, section: Section, rows: Sequence[OurRow], blocks: Sequence[Block]) -> tuple[str, ...]:
    """What the numbers, the marks and the percentages mean, and which data was read."""
    kinds = {row.kind for block in blocks for row in block.rows}
    texts: list[str] = []
    if "ours" in kinds:
        texts.append(
            "Our rows: mean ± standard deviation (n - 1) over the finished seeds, each trained and scored on its "
            "own; without a deviation there was one seed."
        )
        texts += _denominators(definition, rows)
    if any(cell.rank for block in blocks for row in block.rows for cell in row.cells):
        texts.append(
            "Bold is best and underlined second best within a block; a row with a failed seed, or scored on a part of "
            "its test sets, is left out of this."
        )
    if any(cell.starred for block in blocks for row in block.rows for cell in row.cells):
        texts.append(
            f"* significantly below the best of its column (p < {LEVEL} after Holm's correction over all pairs and "
            f"columns of the block): {section.name}_pairs has every test."
        )
    if any(row.dirty for row in rows):
        texts.append("† run from code with uncommitted changes, or whose commit is not known.")
    if any(row.partial for row in rows):
        texts.append("‡ trained or scored on fewer rows than the sets hold, ours or the published ones.")
    if kinds & {"own", "quoted"}:
        texts.append(
            "Published numbers are as printed, from other code, and their percentages have the denominators of "
            "their sources. Those in italics were quoted by the publication named, not run by its authors, or it "
            "does not say which."
        )
    texts += section.notes
    if definition.planned:
        texts.append("This task is not part of the suite yet: its open rows cannot be run.")
    return (*texts, *_data(rows))


def _denominators(definition: Definition, rows: Iterable[OurRow]) -> list[str]:
    """The backbones' sizes, because a percentage without its denominator cannot be compared."""
    if "percent" not in definition.extras:
        return []
    sizes = _distinct(
        f"{definition.backbone(row.key.model).header} {row.runs[0]['parameters']['backbone']:,}" for row in rows
    )
    return [f"Percentages divide trainable parameters without heads by the backbone's: {'; '.join(sizes)}."]


def _data(rows: Iterable[OurRow]) -> tuple[str, ...]:
    """One sentence per state of the data that the rows were trained and scored on."""
    states = {row.key.data: row.runs[0]["data"]["hashes"] for row in rows}
    return tuple(
        f"Data {digest[:6]} (SHA-256): {', '.join(f'{part} {value[:12]}' for part, value in sorted(hashes.items()))}."
        for digest, hashes in sorted(states.items())
    )


def _mask(row: OurRow) -> str:
    protocol = row.config["protocol"]
    if "train_on_inputs" not in protocol:
        return "as the protocol says"
    return "on prompt and answer" if protocol["train_on_inputs"] else "on the answer only"


def _extractor(row: OurRow) -> str:
    if not row.scored:
        return ""
    extractor = row.scored[0]["evaluation"]["extractor"]
    return f"{extractor['name']} v{extractor['version']}"


def _normalisation(row: OurRow) -> str:
    """Mean and deviation of the colours, without which scores on images cannot be compared; empty for text."""
    found = row.config["task"].get("normalisation")
    if found is None:
        return ""
    mean, deviation = (", ".join(f"{value:g}" for value in found[part]) for part in ("mean", "std"))
    return f"mean {mean} and deviation {deviation}"


def _distinct(texts: Iterable[str]) -> list[str]:
    return sorted({text for text in texts if text})
