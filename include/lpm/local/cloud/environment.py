"""The environment variables that every part starts from."""

import os

from lpm.local import paths

# Variables of the caller that could steer a part to another place, such as a real cloud.
_FOREIGN = (
    *("AIRFLOW", "ARM_", "AZURE_", "DATABRICKS_", "HADOOP_", "IDENTITY_", "JAVA_", "JDK_", "KAFKA_", "LPM_", "MSI_"),
    *("PG", "PYTHON", "SPARK_"),
)


def clean_environment() -> dict[str, str]:
    """The caller's environment without what could steer a part elsewhere; loopback goes past any proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, [kept.get(name), "127.0.0.1,localhost"]))
    kept["PYTHONPATH"] = str(paths.checkout() / "include")
    kept["PYTHONUNBUFFERED"] = "1"
    kept["LPM_HOME"] = str(paths.home())
    return kept
