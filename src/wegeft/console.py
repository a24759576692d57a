"""What a finished run says on the terminal: its scores in a table, what it trained and where the record is.

Does not: compute scores.
"""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from wegeft.records.store import Record


def print_record(record: Record, path: Path) -> None:
    """Scores, sizes and times of ``record``, and the file that keeps it."""
    out = Console()
    config = record["config"]
    title = " · ".join(
        [config["method"]["name"], config["task"]["name"], config["model"]["name"], f"seed {config['seed']}"]
    )
    out.print(f"[bold]{title}[/bold]  (scale {config['scale']['name']}, protocol {config['protocol']['name']})")
    if record["error"]:
        out.print(f"[bold red]{record['status']}[/bold red]: {record['error']}")
    if record["evaluation"]:
        out.print(_scores(record))
    if "not_judged" in record["data"]["remarks"]:
        out.print(f"answers kept and not scored yet: {record['data']['remarks']['not_judged']}", soft_wrap=True)
    out.print(_costs(record))
    out.print(f"record: {path}", soft_wrap=True)


def print_known(record: Record, path: Path) -> None:
    """Say that the run was done before, and show what it gave."""
    out = Console()
    out.print(f"This run has its record from {record['created']}; force=true runs it again.", soft_wrap=True)
    print_record(record, path)


def print_note(sentence: str) -> None:
    """Something the person would want to know before a run begins."""
    Console(stderr=True).print(f"note: {sentence}", soft_wrap=True)


def _scores(record: Record) -> Table:
    """One row per set; where sets have different metrics, each names its own.

    What was scored of all sets in another way of answering has a column of its own, anything else a row.
    """
    evaluation = record["evaluation"]
    scores, means = evaluation["scores"], evaluation.get("other_means", {})
    beside = {f"{subset}/{way}" for way in means for subset in scores}
    rows = {subset: score for subset, score in scores.items() if subset not in beside}
    metrics = {score["metric"] for score in rows.values()}
    heading = metrics.pop() if len(metrics) == 1 else "score"
    table = Table("set", f"{heading.replace('_', ' ')} %", "± s.e.", *(f"{way} %" for way in means), "n", "chance %")
    for subset, score in rows.items():
        chance = score.get("chance")
        table.add_row(
            f"{subset} ({score['metric']})" if heading == "score" else subset,
            _percent(score["value"]),
            _percent(score["stderr"]),
            *(_percent(scores.get(f"{subset}/{way}", {}).get("value")) for way in means),
            str(score["n"]),
            _percent(chance),
        )
    table.add_row("mean", _percent(evaluation["mean"]), "", *map(_percent, means.values()), "", "")
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _costs(record: Record) -> str:
    counts = record["parameters"]
    parts = [f"{counts['trainable']:,} trainable parameters ({counts['percent']['backbone']:.4f} % of the backbone)"]
    if record["training"]:
        training = record["training"]
        loss = "none" if training["final_loss"] is None else f"{training['final_loss']:.4f}"
        parts.append(f"{training['steps']} steps in {training['seconds']:.0f} s, final loss {loss}")
    if record["evaluation"]:
        parts.append(f"evaluated in {record['evaluation']['seconds']:.0f} s")
    return "; ".join(parts)
