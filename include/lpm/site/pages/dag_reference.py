"""Every DAG of every environment at a glance."""

from collections.abc import Iterator

from lpm.site.facts import Facts
from lpm.site.page import Page, anchor, code, table


def pages(facts: Facts) -> Iterator[Page]:
    """One page."""
    rows: list[list[object]] = [
        [
            f"[{procedure.name}](../operations/{procedure.name}.md)",
            procedure.purpose,
            " · ".join(anchor(f"/dags/{dag_id}", name) for name, dag_id in procedure.dag_ids.items()),
            f"{code(procedure.schedule)} UTC" if procedure.schedule else "by hand",
            ", ".join(code(parameter.name) for parameter in procedure.parameters),
            procedure.takes,
            f"{procedure.timeout_seconds // 60} min",
        ]
        for procedure in facts.procedures.values()
    ]
    header = ["Procedure", "Purpose", "In Airflow", "Runs", "Parameters", "Takes", "Ends at the latest after"]
    yield Page(
        "reference/dags.md",
        "# All DAGs\n\nRead from the DAG files themselves. A DAG is named `<procedure>__<environment>`. Its page has "
        "its steps, its parameters, and what the failure of each task means. What is the same for all: "
        "[procedures](../operations/index.md).\n" + table(header, rows),
    )
