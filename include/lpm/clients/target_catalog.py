"""What a target database consists of, read from its catalog, so that a change can be told in words."""

from collections.abc import Mapping

from sqlalchemy import Connection, text

from lpm.render.targets import Dialect

# Every query gives (kind, name, detail); a detail that differs is a change of that thing.
POSTGRESQL = """
SELECT 'schema', nspname, '' FROM pg_namespace WHERE nspname IN ('dbo', 'lpm')
UNION ALL
SELECT 'table', relnamespace::regnamespace::text || '.' || relname, ''
FROM pg_class WHERE relnamespace::regnamespace::text IN ('dbo', 'lpm') AND relkind = 'r'
UNION ALL
SELECT 'column', c.relnamespace::regnamespace::text || '.' || c.relname || '.' || a.attname,
       format_type(a.atttypid, a.atttypmod)
FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace::regnamespace::text IN ('dbo', 'lpm') AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'index', schemaname || '.' || indexname, indexdef FROM pg_indexes WHERE schemaname IN ('dbo', 'lpm')
UNION ALL
SELECT 'function', 'lpm.' || proname, md5(pg_get_functiondef(oid)) || coalesce(array_to_string(proacl, ','), '')
FROM pg_proc WHERE pronamespace::regnamespace::text = 'lpm'
UNION ALL
SELECT 'trigger', tgname || ' on ' || tgrelid::regclass::text, pg_get_triggerdef(oid)
FROM pg_trigger WHERE NOT tgisinternal AND tgfoid::regproc::text LIKE 'lpm.%'
UNION ALL
SELECT 'role', rolname, '' FROM pg_roles WHERE rolname LIKE 'lpm\\_%'
UNION ALL
SELECT 'grant', privilege_type || ' on ' || table_schema || '.' || table_name || ' to ' || grantee, ''
FROM information_schema.role_table_grants WHERE grantee LIKE 'lpm\\_%' AND table_schema IN ('dbo', 'lpm')
"""

MSSQL = """
SELECT N'schema', s.name, N'' FROM sys.schemas AS s WHERE s.name = N'lpm'
UNION ALL
SELECT N'table', CONCAT(SCHEMA_NAME(t.schema_id), N'.', t.name), N''
FROM sys.tables AS t WHERE SCHEMA_NAME(t.schema_id) IN (N'dbo', N'lpm')
UNION ALL
SELECT N'column', CONCAT(SCHEMA_NAME(t.schema_id), N'.', t.name, N'.', c.name),
       CONCAT(TYPE_NAME(c.user_type_id), N'(', c.max_length, N',', c.precision, N',', c.scale, N')')
FROM sys.columns AS c JOIN sys.tables AS t ON t.object_id = c.object_id
WHERE SCHEMA_NAME(t.schema_id) IN (N'dbo', N'lpm')
UNION ALL
SELECT N'index', CONCAT(SCHEMA_NAME(t.schema_id), N'.', x.name), x.type_desc
FROM sys.indexes AS x JOIN sys.tables AS t ON t.object_id = x.object_id
WHERE SCHEMA_NAME(t.schema_id) IN (N'dbo', N'lpm') AND x.name IS NOT NULL
UNION ALL
SELECT CASE o.type WHEN 'TR' THEN N'trigger' ELSE N'procedure' END, CONCAT(SCHEMA_NAME(o.schema_id), N'.', o.name),
       CONVERT(nvarchar(64), HASHBYTES('SHA2_256', m.definition), 2)
FROM sys.sql_modules AS m JOIN sys.objects AS o ON o.object_id = m.object_id WHERE SCHEMA_NAME(o.schema_id) = N'lpm'
UNION ALL
SELECT N'role', p.name, N'' FROM sys.database_principals AS p WHERE p.type = 'R' AND p.name LIKE N'lpm[_]%'
UNION ALL
SELECT N'grant', CONCAT(p.permission_name, N' on ', OBJECT_SCHEMA_NAME(p.major_id), N'.', OBJECT_NAME(p.major_id),
       N' to ', USER_NAME(p.grantee_principal_id)), N''
FROM sys.database_permissions AS p WHERE p.class = 1 AND USER_NAME(p.grantee_principal_id) LIKE N'lpm[_]%'
"""

Thing = tuple[str, str]  # kind and name


def read(connection: Connection, dialect: Dialect) -> Mapping[Thing, str]:
    """Everything the pipeline owns in this database, with the detail that would differ after a change."""
    query = POSTGRESQL if dialect == "postgresql" else MSSQL
    found = {
        (str(kind), str(name)): str(detail)
        for kind, name, detail in connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    }
    if ("table", "lpm.watermark") in found:
        for (partition,) in connection.execute(text("SELECT partition_id FROM lpm.watermark")):
            found["watermark", f"of partition {partition}"] = ""
    return found


def changes(before: Mapping[Thing, str], after: Mapping[Thing, str]) -> list[str]:
    """What happened between two readings, one sentence each. The columns of a new table are not told one by one."""
    told = []
    for kind, name in sorted(before.keys() | after.keys()):
        old, new = before.get((kind, name)), after.get((kind, name))
        if old == new:
            continue
        if old is None:
            table = name.rpartition(".")[0]
            if kind == "column" and ("table", table) not in before:
                continue
            told.append(f"created {kind} {name}")
        elif new is None:
            told.append(f"removed {kind} {name}")
        elif kind == "column":
            told.append(f"changed {kind} {name} from {old} to {new}")
        else:
            told.append(f"changed {kind} {name}")
    return told
