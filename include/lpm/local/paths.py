"""Where the local cloud keeps its things. Nothing here creates a folder."""

import os
from pathlib import Path


def checkout() -> Path:
    """The root of this checkout."""
    return Path(__file__).resolve().parents[3]


def home() -> Path:
    """The state folder: ``.lpm`` of this checkout, or the folder that ``LPM_HOME`` names."""
    return Path(os.environ.get("LPM_HOME") or checkout() / ".lpm").absolute()


def java_folder() -> Path:
    """The ``JAVA_HOME`` of everything local."""
    return home() / "java"


def jars_folder() -> Path:
    """The jars from Maven Central, one sub-folder per set."""
    return home() / "jars"


def cloud_folder() -> Path:
    """State and logs of the running local cloud."""
    return home() / "cloud"
