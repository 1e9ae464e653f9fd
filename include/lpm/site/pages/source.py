"""The source: the table contract."""

from collections.abc import Iterator

from lpm.config import Column
from lpm.render import names
from lpm.render.targets import mssql
from lpm.site.facts import Facts
from lpm.site.page import Page, code, table, text


def pages(facts: Facts) -> Iterator[Page]:
    """One page."""
    yield Page("source/table.md", _table(facts))


def _table(facts: Facts) -> str:
    contract = facts.config.table
    rows: list[list[object]] = [
        [
            code(column.name),
            code(column.type),
            "yes" if column.nullable else "no",
            code(mssql.type_name(column.type)),
            _role(column, facts),
            text(column.description),
        ]
        for column in contract.columns
    ]
    where: list[list[object]] = [
        [each.name, code(names.source_table(facts.config, each))] for each in facts.config.environments.values()
    ]
    return "\n".join(
        [
            f"# The table {contract.name}\n",
            f"The contract between source and targets, version {contract.schema_version}: `table` in "
            "`include/config/pipeline.yml`. Everything that handles rows is rendered from it.\n",
            table(["Environment", "Table"], where),
            "## Columns\n",
            table(["Column", "Type", "May be NULL", "In Azure SQL", "Role", "Meaning"], rows),
            f"The key is {', '.join(map(code, contract.key))}. Each target has besides: `lpm_key_hash` (primary key), "
            "`lpm_bucket`, `lpm_version`, `lpm_row_hash`, `lpm_applied_at`.\n",
            "How values travel: [change events](../architecture/change-events.md#values). To change the table: "
            "[configuration](../configuration.md#another-table). For a table that was never described: "
            "`lpm contract propose`.\n",
        ]
    )


def _role(column: Column, facts: Facts) -> str:
    contract = facts.config.table
    roles = ["key"] if column.name in contract.key else []
    roles += ["company"] if column.name == contract.company_column else []
    if column.type.kind == "double":
        roles.append("NaN becomes NULL" if column.non_finite == "null" else "NaN makes a dead letter")
    return ", ".join(roles)
