"""The SQL of the target databases as text: what every rendering must hold, and that T-SQL is T-SQL."""

import re
from collections.abc import Iterator

import pytest
import sqlglot
from sqlglot import TokenType, exp

from lpm.config import Column, ColumnType, Company, Config, load_config
from lpm.render.targets import DIALECTS, Dialect, mssql, postgresql, render, script

DIALECT_NAMES: tuple[Dialect, ...] = ("mssql", "postgresql")
COMPANY = Company(id="O'Neill $(partitions)", name="Example", shard="shard-01", partitions=(3, 0), slug="oneill")
# Statements that no parser at hand knows. Everything else must parse.
PROCEDURAL = [
    r"SET (NOCOUNT|XACT_ABORT|ANSI_NULLS|QUOTED_IDENTIFIER) ON",
    r"SET @now = SYSUTCDATETIME\(\)",
    r"IF NOT EXISTS \(SELECT 1 FROM inserted\) RETURN",
    r"EXEC @granted = sp_getapplock @Resource = N'lpm.apply', @LockMode = N'Exclusive', "
    r"@LockOwner = N'Transaction', @LockTimeout = 60000",
    r"IF @\w+ (< 0|IS NOT NULL|IS NULL OR @days < 1) THROW 51\d{3}, (@fault|N'[^']+'), 1",
    r"(BEGIN|COMMIT) TRANSACTION",
    r"IF DATABASE_PRINCIPAL_ID\(N'(lpm_\w+)'\) IS NULL CREATE ROLE \1",
]


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


@pytest.fixture(scope="module")
def trigger(config: Config) -> str:
    [text] = [batch for batch in script(config, "mssql", COMPANY) if "CREATE OR ALTER TRIGGER" in batch]
    return text


def statements(batch: str) -> Iterator[str]:
    """The statements of a batch, those inside a trigger or procedure one by one."""
    tokens = sqlglot.tokenize(batch, read="tsql")
    if re.search(r"CREATE OR ALTER (TRIGGER|PROCEDURE)", batch):
        first = next(place for place, token in enumerate(tokens) if token.token_type is TokenType.BEGIN)
        last = max(place for place, token in enumerate(tokens) if token.token_type is TokenType.END)
        tokens = tokens[first + 1 : last]
    start = 0
    for place, token in enumerate([*tokens, None]):
        if token is None or token.token_type is TokenType.SEMICOLON:
            if part := tokens[start:place]:
                yield batch[part[0].start : part[-1].end + 1]
            start = place + 1


def test_every_t_sql_statement_is_parsed_by_a_t_sql_parser(config: Config) -> None:
    parsed = 0
    for batch in script(config, "mssql", COMPANY):
        for statement in statements(batch):
            if any(re.fullmatch(pattern, re.sub(r"\s+", " ", statement)) for pattern in PROCEDURAL):
                continue
            tree = sqlglot.parse_one(statement, read="tsql")
            assert not list(tree.find_all(exp.Command)), (
                statement
            )  # what sqlglot does not know it swallows as a Command
            parsed += 1
    assert parsed > 60


@pytest.mark.parametrize("broken", ["SELECT FROM WHERE", "UPDATE t SET a = FROM x", "INSERT t (a) SELECT (1"])
def test_the_parser_would_notice_a_broken_statement(broken: str) -> None:
    with pytest.raises(sqlglot.ParseError):
        sqlglot.parse_one(broken, read="tsql")


def test_nothing_is_read_of_what_is_stored_before_the_lock(trigger: str) -> None:
    body = re.sub(r"--.*", "", trigger[trigger.index("BEGIN") :])
    lock = body.index("sp_getapplock")
    for table in ("[dbo].[tdr_streaming]", "lpm.tombstone", "lpm.watermark", "lpm.quarantine", "lpm.latency"):
        assert lock < body.index(table)
    assert body.index("INSERT #e") < lock  # parsing needs no lock


def test_there_is_no_merge(config: Config) -> None:
    for dialect in DIALECT_NAMES:
        assert not re.search(r"\bMERGE\b", "".join(script(config, dialect, COMPANY)))


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_every_contract_column_is_guarded_and_written(config: Config, dialect: Dialect) -> None:
    text = "\n".join(script(config, dialect, COMPANY))
    name = DIALECTS[dialect].name
    for place, column in enumerate(config.table.columns, 1):
        if column.type.kind != "string":
            assert f"'unconvertible:{column.name}'" in text
        elif column.type.length:
            assert f"'too_long:{column.name}'" in text
        if not column.nullable:
            assert f"'missing:{column.name}'" in text
        written = {"mssql": f"{name(column.name)} = e.c{place}", "postgresql": f"{name(column.name)} = excluded."}[
            dialect
        ]
        assert written in text


def test_every_t_sql_pattern_is_binary_and_every_conversion_is_conditional(trigger: str) -> None:
    body = re.sub(r"--.*", "", trigger)
    assert len(re.findall(r"\bLIKE\b", body)) == len(re.findall(r"COLLATE Latin1_General_BIN2 (?:NOT )?LIKE N'", body))
    assert "-]" not in "".join(re.findall(r"LIKE N'[^']*'", body))  # a hyphen at the end of a class is not a hyphen
    assert len(re.findall(r"TRY_CONVERT", body)) == len(re.findall(r"THEN TRY_CONVERT", body))
    assert not re.search(r"(?<!TRY_)CONVERT\((?:int|bigint|float|decimal|date|datetime2)\b(?!, SUBSTRING\(w)", body)


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_rendering_names_its_source_keeps_the_company_open_and_is_deterministic(
    config: Config, dialect: Dialect
) -> None:
    files = {path: text for path, text in render(config).items() if path.startswith(f"include/sql/{dialect}/")}
    assert [path.rsplit("/", 1)[1] for path in files] == ["1_tables.sql", "2_apply.sql", "3_purge.sql", "4_roles.sql"]
    for path, text in files.items():
        assert text.startswith("-- Generated by `lpm render` from include/sql/templates/"), path
        assert "Do not edit" in text.splitlines()[0]
        assert "{{" not in text
    assert "$(company_literal)" in files[f"include/sql/{dialect}/2_apply.sql"]
    assert not any(company.id in "".join(files.values()) for company in config.companies)
    assert render(config) == render(config)


@pytest.mark.parametrize("dialect", DIALECT_NAMES)
def test_a_script_fills_the_company_in_once_and_leaves_nothing_open(config: Config, dialect: Dialect) -> None:
    text = "\n".join(script(config, dialect, COMPANY))
    assert text.count("$(") == (1 if dialect == "mssql" else 0)  # the company's own name, or nothing: $ is escaped
    assert DIALECTS[dialect].literal(COMPANY.id) in text
    assert "3, 0" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "N'plain'"),
        ("O'Neill", "N'O''Neill'"),
        ("", "N''"),
        ("a\\\nb", "N'a\\' + NCHAR(10) + N'b'"),
        ("'; DROP TABLE x; --", "N'''; DROP TABLE x; --'"),
    ],
)
def test_t_sql_literals(text: str, expected: str) -> None:
    assert mssql.literal(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "'plain'"),
        ("O'Neill", "'O''Neill'"),
        ("$lpm$", "E'\\u0024lpm\\u0024'"),
        ("a\\b'", "E'a\\\\b'''"),
    ],
)
def test_postgresql_literals(text: str, expected: str) -> None:
    assert postgresql.literal(text) == expected


def test_names_are_quoted() -> None:
    assert mssql.name("a]b") == "[a]]b]"
    assert postgresql.name('a"b') == '"a""b"'


def test_a_name_that_postgresql_would_cut_is_refused_with_the_next_step(config: Config) -> None:
    long = "c" * 64
    table = config.table.model_copy(update={"columns": (*config.table.columns, Column(name=long, type="int"))})
    longer = config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"table": table})})
    with pytest.raises(ValueError, match=rf"'{long}' has 64 bytes.*cuts names after 63: use a shorter name"):
        script(longer, "postgresql", COMPANY)


@pytest.mark.parametrize(
    ("text", "in_mssql", "in_postgresql"),
    [
        ("string(40)", "nvarchar(40)", "character varying(40)"),
        ("string", "nvarchar(max)", "text"),
        ("int", "int", "integer"),
        ("bigint", "bigint", "bigint"),
        ("decimal(38,18)", "decimal(38,18)", "numeric(38,18)"),
        ("double", "float", "double precision"),
        ("boolean", "bit", "boolean"),
        ("date", "date", "date"),
        ("timestamp", "datetime2(6)", "timestamp(6) without time zone"),
        ("binary", "varbinary(max)", "bytea"),
    ],
)
def test_types(text: str, in_mssql: str, in_postgresql: str) -> None:
    column_type = ColumnType.parse(text)
    assert mssql.type_name(column_type) == in_mssql
    assert postgresql.type_name(column_type) == in_postgresql
