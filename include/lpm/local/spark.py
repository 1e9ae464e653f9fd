"""A local Spark with Delta and Kafka, and a warehouse folder that several of them share.

The warehouse folder is the local "Unity Catalog". Every session has a catalog in memory and registers the Delta tables
it finds in the folder (``<schema>.db/<table>/_delta_log``): the stand-in and a job are two JVMs, and the catalogs that
come with Spark are private to one JVM or need a server.
"""

import contextlib
import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lpm.local.toolchain import java_home, spark_jars

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# One small heap: the serial collector needs the least memory and threads beside it. The jars' digests are checked, so
# their classes need no check. With Java's own first sizes for classes and compiled code, of which Spark has many, whole
# collections begin again and again. Together a tenth less processor time over the first commits.
JAVA_OPTIONS = (
    "-Duser.timezone=UTC -XX:+UseSerialGC -Xverify:none -XX:MetaspaceSize=192m -XX:ReservedCodeCacheSize=160m"
)
# For a JVM of small work that shares two processors: until its first result it takes 18 s of processor time, not 29.
# Over a million rows it takes three times as long as with the compiler that optimises.
QUICK_COMPILER = "-XX:TieredStopAtLevel=1"
_CONF = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "2",
    # Databricks never breaks base64 text into lines; open-source Spark does unless told otherwise.
    "spark.sql.chunkBase64String.enabled": "false",
    # Delta's SQL parser drops the parameters of a statement under Spark 4.1 (delta-io/delta#7640); this binds them
    # after it. A marker may then stand for a value only, not in VERSION AS OF.
    "spark.sql.legacy.parameterSubstitution.constantsOnly": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
# They print, in thousands of characters, every error that pyspark raises as an exception anyway.
_REPEATING_LOGGERS = ("SQLQueryContextLogger", "DataFrameQueryContextLogger")


def session(
    warehouse: Path,
    app: str,
    memory: str = "1g",
    extra_conf: Mapping[str, str] | None = None,
    java_options: Sequence[str] = (),
) -> "SparkSession":
    """The Spark session of this process, its catalog filled from ``warehouse``.

    Args:
        warehouse: Folder of the tables; made when absent. May contain blanks.
        app: Name of the application, as seen in logs.
        memory: Heap of the JVM, such as ``"1g"``.
        java_options: Options of the JVM beside the ones that all local sessions share.
        extra_conf: Settings that add to, or override, the ones all local sessions share.
    """
    from pyspark.sql import SparkSession

    warehouse.mkdir(parents=True, exist_ok=True)
    os.environ["JAVA_HOME"] = str(java_home())
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["MALLOC_ARENA_MAX"] = "2"  # else the C library keeps freed memory in an arena per thread
    builder = SparkSession.builder.master("local[2]").appName(app)
    conf = {
        **_CONF,
        "spark.sql.warehouse.dir": str(_plain(warehouse)),
        "spark.driver.memory": memory,
        "spark.driver.extraJavaOptions": " ".join([JAVA_OPTIONS, *java_options]),
        "spark.driver.extraClassPath": os.pathsep.join(map(str, spark_jars(_say_nothing))),
        **(extra_conf or {}),
    }
    for key, value in conf.items():
        builder = builder.config(key, value)
    for logger in _REPEATING_LOGGERS:
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    register_tables(spark)
    return spark


def register_tables(spark: "SparkSession") -> None:
    """Make the session's catalog equal to its warehouse folder.

    Cheap when nothing changed, so a long-lived session calls it before each statement: another process may have made
    or dropped a table.
    """
    warehouse = Path(spark.conf.get("spark.sql.warehouse.dir").removeprefix("file:"))
    catalog = spark._jsparkSession.sessionState().catalog()
    for folder in warehouse.glob("*.db"):
        if not catalog.databaseExists(folder.name.removesuffix(".db")):
            spark.sql(f"CREATE SCHEMA IF NOT EXISTS {_quoted(folder.name.removesuffix('.db'))}")
    found = {
        (folder.parent.name.removesuffix(".db"), folder.name): folder
        for folder in warehouse.glob("*.db/*")
        if any(folder.glob("_delta_log/*.json"))  # else it is just being made
    }
    known = _registered(catalog)
    for schema, table in known - found.keys():
        if _is_lost(spark, catalog, schema, table):
            spark.sql(f"DROP TABLE IF EXISTS {_quoted(schema)}.{_quoted(table)}")
    for schema, table in found.keys() - known:
        _register(spark, catalog, schema, table, found[schema, table])


def _registered(catalog: Any) -> set[tuple[str, str]]:
    """Schema and name of each table and view of the catalog."""
    return {
        (schema, identifier.table())
        for schema in _items(catalog.listDatabases())
        for identifier in _items(catalog.listTables(schema))
    }


def _is_lost(spark: "SparkSession", catalog: Any, schema: str, table: str) -> bool:
    """Whether a table's folder is gone. Views have none, and tables with a LOCATION have theirs elsewhere."""
    metadata = catalog.getTableMetadata(_identifier(spark, f"{_quoted(schema)}.{_quoted(table)}"))
    return str(metadata.tableType().name()) == "MANAGED" and not Path(metadata.location().getPath()).exists()


def _register(spark: "SparkSession", catalog: Any, schema: str, table: str, folder: Path) -> None:
    name = f"{_quoted(schema)}.{_quoted(table)}"
    location = str(folder.absolute()).replace("\\", "\\\\").replace("'", "\\'")
    spark.sql(f"CREATE TABLE IF NOT EXISTS {name} USING delta LOCATION '{location}'")
    # A table with a LOCATION is external: DROP TABLE would leave its files, which the next scan would find again.
    # These tables were made without one, so they are managed, as on Databricks. No SQL says that about existing files.
    metadata = catalog.getTableMetadata(_identifier(spark, name))
    count = sum(method.getName().startswith("copy$default$") for method in metadata.getClass().getMethods())
    fields = [getattr(metadata, f"copy$default${position}")() for position in range(1, count + 1)]
    types = spark._jvm.org.apache.spark.sql.catalyst.catalog.CatalogTableType
    fields[fields.index(types.EXTERNAL())] = types.MANAGED()
    catalog.alterTable(metadata.copy(*fields))


def _plain(folder: Path) -> Path:
    """The folder by a name that is the same in a URI, through a link if it has to be.

    Delta 4.3.1 puts a clone where the percent-encoded name of the warehouse leads: with a blank in the path, beside it.
    """
    absolute = folder.absolute()
    if quote(str(absolute)) == str(absolute):
        return absolute
    link = Path(tempfile.gettempdir()) / f"lpm-{hashlib.sha256(os.fsencode(absolute)).hexdigest()[:16]}"
    with contextlib.suppress(FileExistsError):
        link.symlink_to(absolute)
    if not link.is_symlink() or link.readlink() != absolute:
        raise RuntimeError(f"{link} is not the link to {absolute} that Spark needs; remove it and start again")
    return link


def _identifier(spark: "SparkSession", name: str) -> Any:
    return spark._jsparkSession.sessionState().sqlParser().parseTableIdentifier(name)


def _items(scala_sequence: Any) -> list[Any]:
    return [scala_sequence.apply(index) for index in range(scala_sequence.size())]


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _say_nothing(_: str) -> None:
    """Whoever starts a session is a service; ``lpm`` fetches the jars beforehand and reports that."""
