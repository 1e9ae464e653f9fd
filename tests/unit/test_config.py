"""The configuration says everything that is wrong with it, at once, and where."""

from collections.abc import Callable
from pathlib import Path

import pytest

from config_edits import replaced
from lpm.config import ConfigError, config_folder, load_config

Edit = Callable[[str, str, str], int]


@pytest.fixture
def edit(folder: Path) -> Edit:
    """Replace one piece of text in one file of the copy."""
    return lambda file, old, new: replaced(folder / file, old, new)


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(folder)
    return [str(problem) for problem in caught.value.problems]


def the_problem(folder: Path) -> str:
    (only,) = problems(folder)
    return only


def line_of(folder: Path, file: str, text: str) -> int:
    lines = (folder / file).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_the_shipped_configuration_is_valid() -> None:
    config = load_config(config_folder())
    assert {"local", "devtest", "prod"} <= set(config.environments)
    assert len(config.companies) >= 6
    assert len(config.shards) == 2


def test_every_type_of_the_contract_is_used_by_the_shipped_table() -> None:
    kinds = {column.type.kind for column in load_config(config_folder()).table.columns}
    assert kinds == {"string", "int", "bigint", "decimal", "double", "boolean", "date", "timestamp", "binary"}


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_valid_name(folder: Path, edit: Edit) -> None:
    edit("pipeline.yml", "max_event_bytes:", "max_event_byte:")
    line = line_of(folder, "pipeline.yml", "max_event_byte:")
    found = problems(folder)
    assert f"pipeline.yml:{line}: limits.max_event_byte: unknown key\n    did you mean 'max_event_bytes'?" in found


def test_an_unknown_key_inside_a_list_is_matched_against_the_keys_of_that_place(folder: Path, edit: Edit) -> None:
    edit("pipeline.yml", "type: int, nullable: false", "type: int, nulable: false")
    assert the_problem(folder).endswith("unknown key\n    did you mean 'nullable'?")


def test_an_unknown_type_names_the_types_there_are(folder: Path, edit: Edit) -> None:
    edit("pipeline.yml", "type: bigint", "type: long")
    line = line_of(folder, "pipeline.yml", "type: long")
    message = the_problem(folder)
    assert message.startswith(f"pipeline.yml:{line}: table.columns.5.type: unknown type 'long'; expected one of string")


@pytest.mark.parametrize("wrong", ["decimal(39,2)", "decimal(10,11)", "decimal(0,0)", "string(0)", "string(4001)"])
def test_a_type_out_of_range_is_refused(folder: Path, edit: Edit, wrong: str) -> None:
    edit("pipeline.yml", "type: bigint", f'type: "{wrong}"')
    assert wrong in the_problem(folder)


def test_a_wrong_choice_is_answered_with_the_nearest_one(folder: Path, edit: Edit) -> None:
    edit("environments/prod.yml", "dialect: mssql", "dialect: mssq")
    assert the_problem(folder).endswith("did you mean 'mssql'?")


def test_all_problems_of_all_files_are_reported_at_once(folder: Path, edit: Edit) -> None:
    edit("pipeline.yml", "type: bigint", "type: long")
    edit("companies.yml", "name: Example Company Aurora", "nam: Example Company Aurora")
    edit("environments/local.yml", "kind: local", "kind: locl")
    files = {problem.split(":")[0] for problem in problems(folder)}
    assert files == {"pipeline.yml", "companies.yml", "environments/local.yml"}


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("pipeline.yml", "table: [", "is not YAML"),
        ("pipeline.yml", "", "the file is empty"),
        ("companies.yml", "- a\n- b\n", "expected a mapping"),
    ],
)
def test_a_file_that_is_no_mapping_is_a_clear_error(folder: Path, file: str, text: str, expected: str) -> None:
    (folder / file).write_text(text, encoding="utf-8")
    assert any(expected in problem for problem in problems(folder))


def test_a_missing_file_is_a_clear_error(folder: Path) -> None:
    (folder / "companies.yml").unlink()
    assert any("companies.yml:1: (file): cannot be read" in problem for problem in problems(folder))


def test_a_file_that_is_not_utf8_is_a_clear_error(folder: Path) -> None:
    (folder / "companies.yml").write_bytes(b"shards: [\xff]")
    assert any("is not UTF-8" in problem for problem in problems(folder))


def test_a_key_given_twice_is_refused(folder: Path, edit: Edit) -> None:
    edit("environments/local.yml", "kind: local", "kind: local\nkind: local")
    assert "is given twice" in the_problem(folder)


def test_a_company_without_a_database_is_found_in_each_environment(folder: Path, edit: Edit) -> None:
    edit("environments/prod.yml", "  C-1001: {server: sql-lpm-prod-example", "  C-1O01: {server: sql-lpm-prod-example")
    found = problems(folder)
    assert any("company 'C-1001' has no database here" in problem and "'C-1O01'" in problem for problem in found)
    assert any("unknown company 'C-1O01'" in problem and "did you mean 'C-1001'" in problem for problem in found)


def test_two_companies_never_share_a_database(folder: Path, edit: Edit) -> None:
    edit("environments/prod.yml", "database: sqldb-lpm-c-1002", "database: SQLDB-LPM-C-1001")
    message = the_problem(folder)
    assert "already belongs to company 'C-1001'" in message


def test_an_unknown_shard_is_answered_with_the_nearest_one(folder: Path, edit: Edit) -> None:
    edit("companies.yml", "Aurora,  shard: shard-01", "Aurora,  shard: shard-1")
    assert "did you mean 'shard-01'?" in the_problem(folder)


def test_a_shard_without_a_company_is_refused(folder: Path, edit: Edit) -> None:
    edit("companies.yml", "shards: [shard-01, shard-02]", "shards: [shard-01, shard-02, shard-03]")
    assert "shard 'shard-03' has no company" in the_problem(folder)


def test_a_shard_takes_no_more_companies_than_the_limit(folder: Path, edit: Edit) -> None:
    edit("pipeline.yml", "companies_per_shard: 20", "companies_per_shard: 2")
    found = problems(folder)
    assert len(found) == 2
    assert "shard 'shard-01' has 4 companies; pipeline.yml allows 2" in found[0]


def test_a_partition_has_to_exist_in_every_environment(folder: Path, edit: Edit) -> None:
    edit("companies.yml", "partitions: [2, 3]", "partitions: [2, 7]")
    message = the_problem(folder)  # devtest and prod have eight partitions, local five
    assert (
        "partition 7 of company 'C-1003' does not exist in environment 'local', whose hubs have partitions 0 to 4"
        in message
    )


@pytest.mark.parametrize("twin", ["C-1001", "c-1001", "'C-1001  '"])
def test_two_ids_that_sql_server_may_take_for_one_are_refused(folder: Path, edit: Edit, twin: str) -> None:
    edit("companies.yml", "id: C-1002, name", f"id: {twin}, slug: twin, name")
    assert any("differ only in case or trailing blanks" in problem for problem in problems(folder))


def test_a_control_character_in_a_company_id_is_refused(folder: Path, edit: Edit) -> None:
    edit("companies.yml", "id: C-1002, name", 'id: "C-1002\\u0000", name')
    assert any("control character" in problem for problem in problems(folder))


def test_two_companies_with_one_slug_are_refused(folder: Path, edit: Edit) -> None:
    edit("companies.yml", "id: C-1002, name", "id: C-1002, slug: c-1001, name")
    assert "is also the slug of 'C-1001'" in the_problem(folder)


def test_a_key_that_is_no_column_is_refused(folder: Path, edit: Edit) -> None:
    edit("pipeline.yml", "key: [trade_id, leg_no]", "key: [trade_id, leg]")
    assert "key names 'leg', which is not a column" in the_problem(folder)


@pytest.mark.parametrize("name", ["_commit_version", "PartitionId", "lpm_version"])
def test_a_column_name_that_the_pipeline_needs_is_refused(folder: Path, edit: Edit, name: str) -> None:
    edit("pipeline.yml", "name: book,", f"name: {name},")
    assert "is reserved" in the_problem(folder)


def test_tombstones_outlive_the_change_feed(folder: Path, edit: Edit) -> None:
    edit("pipeline.yml", "tombstone_days: 45", "tombstone_days: 30")
    assert "must be more than change_feed_days (30)" in the_problem(folder)


def test_another_table_is_a_matter_of_editing_yaml(folder: Path) -> None:
    path = folder / "pipeline.yml"
    text = path.read_text(encoding="utf-8")
    head, tail = text.split("table:", 1)
    _, limits = tail.split("\nlimits:", 1)
    table = """
  name: orders
  schema_version: 3
  company_column: tenant
  key: [order_no]
  columns:
    - {name: order_no, type: bigint, nullable: false}
    - {name: tenant, type: string(20), nullable: false}
    - {name: total, type: "decimal(12,4)"}
"""
    path.write_text(f"{head}table:{table}\nlimits:{limits}", encoding="utf-8")
    assert load_config(folder).table.key == ("order_no",)
