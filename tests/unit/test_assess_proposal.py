"""A proposal carries every value of every column, leaves out what cannot be carried, and says what is undecided."""

import string
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lpm.config import ColumnType, TableContract, load_config
from lpm.config.models import RESERVED_COLUMNS
from lpm.procedures.assess.key_guess import candidates, combinations, primary_key_of
from lpm.procedures.assess.proposal import draft_of
from lpm.procedures.assess.spark_columns import SourceColumn, columns_of, mapped
from lpm.procedures.enable_cdf import carries

TABLE = "c.s.t"
CONTRACT = load_config().table
SIMPLE = {"int": "int", "bigint": "bigint", "double": "double", "boolean": "boolean", "date": "date",
          "timestamp": "timestamp_ltz", "binary": "binary"}  # fmt: skip
CARRIED = (
    *("string", "string collate UTF8_LCASE", "varchar(64)", "char(3)", "varchar(9999)", "tinyint", "smallint", "int"),
    *("bigint", "decimal(38,18)", "decimal(1,0)", "float", "double", "boolean", "date", "timestamp", "timestamp_ntz"),
    "binary",
)


def described(kind: ColumnType) -> dict[str, Any]:
    """A contract's type as Databricks describes the column made from it."""
    match kind.kind:
        case "string":
            if kind.length:
                return {"name": "varchar", "length": kind.length}
            return {"name": "string", "collation": "UTF8_BINARY"}
        case "decimal":
            return {"name": "decimal", "precision": kind.precision, "scale": kind.scale}
        case simple:
            return {"name": SIMPLE[simple]}


kinds = st.one_of(
    st.sampled_from([ColumnType.parse(name) for name in (*SIMPLE, "string")]),
    st.integers(1, 4000).map(lambda length: ColumnType("string", length=length)),
    st.integers(1, 38).flatmap(
        lambda precision: st.integers(0, precision).map(lambda s: ColumnType("decimal", precision=precision, scale=s))
    ),
)
names = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=12).filter(
    lambda name: not name[0].isdigit() and not name.lower().startswith("lpm_") and name.lower() not in RESERVED_COLUMNS
)
columns = st.lists(st.tuples(names, kinds, st.booleans(), st.text(max_size=8)), max_size=6).map(
    lambda found: [("yes", ColumnType("string"), False, "the key: a # b"), *found]
)


@given(columns.filter(lambda found: len({name.lower() for name, *_ in found}) == len(found)))
def test_the_proposal_for_a_table_made_from_any_contract_is_that_contract(found):
    metadata = {
        "columns": [
            {"name": name, "type": described(kind), "nullable": nullable, "comment": comment}
            for name, kind, nullable, comment in found
        ]
    }
    draft = draft_of(TABLE, columns_of(metadata), "yes")
    block = yaml.safe_load(draft.text)["table"]
    contract = TableContract.model_validate({**block, "key": ["yes"]})  # the key comes from the rows
    assert [(each.name, each.type, each.nullable, each.description) for each in contract.columns] == found
    assert contract.company_column == "yes"


@pytest.mark.parametrize("kind", CARRIED)
def test_a_proposed_type_holds_every_value_of_the_column(kind):
    wanted = mapped(kind)
    assert wanted is not None
    assert carries(wanted, kind)
    assert ColumnType.parse(str(wanted)) == wanted


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ({"name": "array", "element_type": {"name": "int"}}, "is array<int>, which no type of the contract carries"),
        ({"name": "map", "key_type": {"name": "string"}, "value_type": {"name": "int"}}, "is map<string,int>"),
        ({"name": "struct", "fields": [{"name": "x", "type": {"name": "date"}}]}, "that holds to_json(odd)"),
        ({"name": "variant"}, "that holds to_json(odd)"),
        ({"name": "interval"}, "add a text column to the table that holds it"),
    ],
)
def test_a_type_that_cannot_be_carried_is_left_out_with_what_to_do(kind, advice):
    found = columns_of({"columns": [{"name": "odd", "type": kind}, {"name": "id", "type": {"name": "int"}}]})
    draft = draft_of(TABLE, found, "company")
    assert [column.name for column, _ in draft.columns] == ["id"]
    [line] = [decision for decision in draft.decisions if decision.startswith("left out")]
    assert advice in line


@pytest.mark.parametrize("name", ["_change_type", "PartitionId", "lpm_version", "with blank", "9lives", "naïve"])
def test_a_name_that_the_contract_refuses_is_left_out(name):
    draft = draft_of(TABLE, [SourceColumn(name, "int"), SourceColumn("id", "int")], "company")
    assert [column.name for column, _ in draft.columns] == ["id"]
    assert any("left out" in decision and "rename it" in decision for decision in draft.decisions)


@pytest.mark.parametrize(
    ("found", "company", "says"),
    [
        (["INFO_CompanyId", "tenant"], "INFO_CompanyId", "has the name that the present contract uses"),
        (["tenant_code", "a_company"], "a_company", "sounds like it; it could also be tenant_code"),
        (["book"], "", "no text column sounds like a company"),
    ],
)
def test_the_company_is_guessed_from_names_and_said_to_be_a_guess(found, company, says):
    draft = draft_of(TABLE, [SourceColumn(name, "string") for name in found], CONTRACT.company_column)
    assert draft.company == company
    assert says in draft.decisions[0]
    assert yaml.safe_load(draft.text)["table"]["company_column"] == company


def test_what_a_person_must_know_of_the_types_is_said():
    kinds = {"a": "varchar(5)", "b": "timestamp_ntz", "c": "float", "d": "string collate UTF8_LCASE"}
    draft = draft_of(TABLE, [SourceColumn(name, kind) for name, kind in kinds.items()], "company")
    said = "\n".join(draft.decisions)
    for part in ("lengths of a", "b: a moment without a time zone", "c: NaN and Infinity", "d: the collation is not"):
        assert part in said


def test_decisions_are_a_comment_above_the_block():
    text = draft_of(TABLE, [SourceColumn("id", "int")], "company").text
    assert text.startswith("# Proposed from the columns of c.s.t. A person has to decide:\n#   - company_column")
    assert "\ntable:\n  name: t\n  schema_version: 1\n" in text


def test_columns_that_are_never_null_and_sound_like_a_key_come_first_and_the_company_last():
    found = [
        (SourceColumn("company_id", "string", nullable=False), ColumnType("string")),
        (SourceColumn("booked_at", "timestamp", nullable=False), ColumnType("timestamp")),
        (SourceColumn("trade_id", "string", nullable=False), ColumnType("string")),
        (SourceColumn("legNo", "int"), ColumnType("int")),
        (SourceColumn("comment", "string"), ColumnType("string")),
        (SourceColumn("ratio_id", "double", nullable=False), ColumnType("double")),
    ]
    assert candidates(found, "company_id") == ["trade_id", "booked_at", "legNo", "company_id"]


def test_sets_of_columns_with_too_few_values_are_not_tried():
    tried = list(combinations(["a", "b", "c"], {"a": 1000, "b": 10, "c": 2}, 9000))
    assert tried == [("a", "b"), ("a", "b", "c")]
    assert list(combinations(["a"], {"a": 0}, 1)) == [("a",)]


def test_a_declared_primary_key_is_read_from_the_description():
    assert primary_key_of(["int", "PRIMARY KEY (`trade id`, `leg_no`)"]) == ("trade id", "leg_no")
    assert primary_key_of(["int", "CHECK (a > 0)"]) == ()
