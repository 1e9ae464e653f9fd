"""What the local cloud runs on, all of it from PyPI and Maven Central: Java, Spark's jars and Kafka."""

from lpm.local.jars import JarError, Report, kafka_libraries, spark_jars
from lpm.local.jars import prepare as _prepare_jars
from lpm.local.java import java, java_home

__all__ = ["JarError", "java", "java_home", "kafka_libraries", "prepare", "spark_jars"]


def prepare(report: Report = print) -> None:
    """Fetch and make everything that is not there yet; a second call takes milliseconds.

    Raises:
        JarError: a jar could not be fetched, or is not the one that the lock file names.
    """
    java_home()
    _prepare_jars(report)
