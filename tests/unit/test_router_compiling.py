"""The local engine runs what it knows and refuses, by name, what it does not."""

import pytest

from lpm.config import load_config
from lpm.local.router.compiling import NotSimulated, compile_query
from lpm.render import router

REFUSED = {
    "Star": "SELECT * INTO [x] FROM hub",
    "without INTO": "SELECT a FROM hub",
    "'BY' is not simulated": "SELECT a INTO [x] FROM hub TIMESTAMP BY t",
    "'PARTITION BY' is not simulated": "SELECT a INTO [x] FROM hub PARTITION BY p",
    "Count": "SELECT COUNT(a) AS c INTO [x] FROM hub",
    "GROUP": "SELECT a INTO [x] FROM hub GROUP BY a",
    "HAVING": "SELECT a INTO [x] FROM hub HAVING a = '1'",
    "ORDER": "SELECT a INTO [x] FROM hub ORDER BY a",
    "LIMIT": "SELECT TOP 1 a INTO [x] FROM hub",
    "DISTINCT": "SELECT DISTINCT a INTO [x] FROM hub",
    "'UNION'": "SELECT a INTO [x] FROM hub UNION SELECT b INTO [y] FROM hub",
    "JOINS": "SELECT a INTO [x] FROM hub JOIN ref ON hub.a = ref.a",
    "Subquery": "SELECT a INTO [x] FROM hub WHERE a IN (SELECT b FROM hub)",
    "ParseJSON": "SELECT JSON_PARSE(a) AS b INTO [x] FROM hub",
    "GETMETADATAPROPERTYVALUE": "SELECT GetMetadataPropertyValue(hub, 'EventId') AS i INTO [x] FROM hub",
    "Like": "SELECT a INTO [x] FROM hub WHERE a LIKE 'x%'",
    "GT": "SELECT a INTO [x] FROM hub WHERE a > '1'",
    "Not": "SELECT a INTO [x] FROM hub WHERE NOT (a = '1')",
    "Add": "SELECT a + 'x' AS b INTO [x] FROM hub",
    "Collate": "SELECT a INTO [x] FROM hub WHERE a = '1' COLLATE Latin1_General_BIN",
    "HINTS": "SELECT a INTO [x] FROM hub WITH (NOLOCK)",
    "without an alias": "SELECT a INTO [x] FROM hub h",
    "DATETIME": "SELECT TRY_CAST(a AS datetime) AS a INTO [x] FROM hub",
    r"NVARCHAR\(10\)": "SELECT TRY_CAST(a AS nvarchar(10)) AS a INTO [x] FROM hub",
    "EventEnqueuedUtcTime": "SELECT EventEnqueuedUtcTime INTO [x] FROM hub",
    "reads \\['nope'\\]": "SELECT a INTO [x] FROM nope",
    "two SELECTs INTO": "SELECT a INTO [x] FROM hub SELECT a INTO [x] FROM hub",
    "another step": "WITH s AS (SELECT a FROM hub), s AS (SELECT a FROM hub) SELECT a INTO [x] FROM s",
    "no SELECT": "DELETE FROM hub",
    "cannot be read": "SELECT 'abc",
}


@pytest.mark.parametrize(("named", "query"), REFUSED.items())
def test_a_construct_that_is_not_simulated_is_named(named: str, query: str) -> None:
    with pytest.raises(NotSimulated, match=named):
        compile_query(query, "hub")


def test_the_rendered_queries_compile_to_one_step_and_their_outputs() -> None:
    config = load_config()
    for shard in config.shards:
        compiled = compile_query(router.query(config, shard), router.INPUT)
        assert len(compiled.steps) == 1
        assert {*compiled.fields, "partition_id"} == set(router.COLUMNS)
        assert list(compiled.outputs) == [
            output.alias for output in router.outputs(config, config.environment("local"), shard)
        ]


def test_semicolons_comments_and_coalesce_are_understood() -> None:
    compiled = compile_query(
        "-- SELECT nothing\nSELECT a INTO [x] FROM hub WHERE a <> 'SELECT ('; /* SELECT */ "
        "SELECT COALESCE(a, CASE WHEN b IS NOT NULL THEN b ELSE 'c' END) AS c INTO [y] FROM hub;",
        "hub",
    )
    assert compiled.outputs == ("x", "y")
    assert compiled.fields == ("a", "b")


def test_selects_that_differ_only_in_the_company_share_one_pass() -> None:
    config = load_config()
    passes = compile_query(router.query(config, "shard-01"), router.INPUT).passes
    assert [len(one.outputs) for one in passes] == [len(config.companies_of("shard-01")), 1]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a INTO [x] FROM hub WHERE a = '1' SELECT a INTO [y] FROM hub WHERE a = '1'",
        "SELECT a INTO [x] FROM hub WHERE a = '1' SELECT a INTO [y] FROM hub WHERE b = '1'",
        "SELECT a INTO [x] FROM hub WHERE a = '1' SELECT b INTO [y] FROM hub WHERE a = '2'",
        "SELECT a INTO [x] FROM hub SELECT a INTO [y] FROM hub",
        "SELECT a INTO [x] FROM hub WHERE PartitionId = '1' SELECT a INTO [y] FROM hub WHERE PartitionId = '01'",
        "WITH s AS (SELECT TRY_CAST(a AS bigint) AS a FROM hub) "
        "SELECT a INTO [x] FROM s WHERE a = '1' SELECT a INTO [y] FROM s WHERE a = '01'",
    ],
)
def test_selects_that_may_take_the_same_row_never_share_a_pass(query: str) -> None:
    assert [len(one.outputs) for one in compile_query(query, "hub").passes] == [1, 1]
