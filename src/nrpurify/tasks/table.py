"""The compact tables of a task's run: defenses × attacks, as in the paper."""

from __future__ import annotations

from nrpurify.results import Result, Run


def task_tables(run: Run) -> list[tuple[list[str], list[list[str]]]]:
    """A table for each metric, in percent: its header, and a row for each defense.

    Args:
        run: As :func:`nrpurify.tasks.run.evaluate_task` returns it.
    """
    metrics = dict.fromkeys(cell.metric for cell in run.cells)
    return [_table(run, metric) for metric in metrics]


def _table(run: Run, metric: str) -> tuple[list[str], list[list[str]]]:
    cells = [cell for cell in run.cells if cell.metric == metric]
    columns = list(dict.fromkeys(_column(cell) for cell in cells))
    rows: dict[str, dict[str, str]] = {}
    for cell in cells:
        rows.setdefault(cell.defense, {})[_column(cell)] = f"{100 * cell.value:.1f}"
    body = [[name, *(row.get(column, "") for column in columns)] for name, row in rows.items()]
    return [f"{metric}, %", *columns], body


def _column(cell: Result) -> str:
    return cell.attack if cell.eps is None else f"{cell.attack} {255 * cell.eps:.3g}/255"
