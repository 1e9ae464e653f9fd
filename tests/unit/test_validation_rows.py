"""No statement of validation can touch a row of anybody else."""

import re

import pytest
import sqlglot
from sqlglot import exp

from lpm.config import load_config
from lpm.config.test_plan import load_test_plan
from lpm.procedures.outcome import ProcedureError
from lpm.procedures.validation.rows import Statements

CONFIG, PLAN = load_config(), load_test_plan()
PROD = CONFIG.environment("prod")
MARK = f"{PLAN.rows.key_prefix}0a1b2c3d-"
STATEMENTS = Statements(CONFIG, PROD, PLAN, MARK)
FIRST, SECOND = CONFIG.canaries
OURS = {FIRST.id, SECOND.id, PLAN.rows.unknown_company}
CHANGES = {
    "update": STATEMENTS.update(1),
    "update of one": STATEMENTS.update(2, [7]),
    "move": STATEMENTS.move(SECOND),
    "delete": STATEMENTS.delete(),
    "delete of one": STATEMENTS.delete([7]),
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES)
def test_what_changes_rows_names_the_canaries_and_the_mark(statement: str) -> None:
    parsed = sqlglot.parse_one(statement, dialect="databricks")
    condition = parsed.args["where"].this
    assert isinstance(condition, exp.And), "both conditions, never one alone"
    companies = condition.find(exp.In)
    assert companies is not None
    assert companies.this.name == CONFIG.table.company_column
    assert {each.this for each in companies.expressions} == OURS
    key = condition.expression
    assert key.find(exp.Column).name == "trade_id"
    assert all(each.this.startswith(MARK) for each in key.find_all(exp.Literal))


def test_an_insert_is_for_a_canary_or_for_the_company_that_nobody_has() -> None:
    for company in OURS:
        sqlglot.parse_one(STATEMENTS.insert(company, 0, 3), dialect="databricks")
    for tenant in CONFIG.tenants:
        with pytest.raises(ValueError, match="is no company of validation"):
            STATEMENTS.insert(tenant.id, 0, 1)


def test_an_insert_gives_every_column_of_the_contract_a_value() -> None:
    parsed = sqlglot.parse_one(STATEMENTS.insert(FIRST.id, 0, 3), dialect="databricks")
    assert [column.name for column in parsed.this.expressions] == [column.name for column in CONFIG.table.columns]
    assert len(parsed.expression.expressions) == len(CONFIG.table.columns)


def test_a_mark_begins_with_the_prefix_of_the_plan() -> None:
    with pytest.raises(ValueError, match=re.escape(PLAN.rows.key_prefix)):
        Statements(CONFIG, PROD, PLAN, "T-")


def test_a_table_whose_key_has_no_text_is_refused_and_told_what_to_use_instead() -> None:
    numbers = CONFIG.table.model_copy(update={"key": ("leg_no",)})
    config = CONFIG.model_copy(update={"pipeline": CONFIG.pipeline.model_copy(update={"table": numbers})})
    with pytest.raises(ProcedureError, match="use reconcile"):
        Statements(config, PROD, PLAN, MARK)
