"""What the demo shows while traffic runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class CompanyState:
    """One line of the screen. ``latency`` is commit to visible in seconds (p50, p95, p99); None without recent rows.

    ``problem`` says why the database could not be asked.
    """

    company: str
    rows: int = 0
    version: int = -1
    lag_versions: int = 0
    latency: tuple[float, float, float] | None = None
    foreign_rows: int = 0
    quarantined: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Summary:
    """The line above the table."""

    source_version: int
    rows_sent: int
    rows_per_second: float
    seconds: float


def screen(summary: Summary, states: Sequence[CompanyState]) -> Table:
    """The whole picture as a table."""
    table = Table(
        title=f"source version {summary.source_version} · {summary.rows_sent:,} rows changed · "
        f"{summary.rows_per_second:,.0f} rows/s · {summary.seconds:.0f} s",
        caption="latency: commit in the source to visible in the company's database, rows of the last 30 s",
    )
    for heading in ("company", "rows", "version", "behind", "p50", "p95", "p99", "only its own rows"):
        table.add_column(heading, justify="left" if heading in ("company", "only its own rows") else "right")
    for state in states:
        if state.problem:
            table.add_row(state.company, "", "", "", "", "", "", f"[red]{state.problem}[/]")
            continue
        seconds = [f"{value:.2f} s" for value in state.latency] if state.latency else ["-"] * 3
        table.add_row(
            state.company, f"{state.rows:,}", str(state.version), str(state.lag_versions), *seconds, _own_rows(state)
        )
    return table


def _own_rows(state: CompanyState) -> str:
    if state.foreign_rows:
        return f"[red]no: {state.foreign_rows} rows of other companies[/]"
    if state.quarantined:
        return f"[yellow]yes; {state.quarantined} events in quarantine[/]"
    return "[green]yes[/]"
