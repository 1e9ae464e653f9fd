"""Jars from Maven Central: fetched by the Ivy that pyspark ships, checked against ``include/config/jars.lock``."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lpm.local import java, paths
from lpm.local.files import write_atomically

Report = Callable[[str], None]


@dataclass(frozen=True)
class Jar:
    """A jar's coordinates."""

    organisation: str
    artifact: str
    version: str

    @classmethod
    def parse(cls, text: str) -> "Jar":
        """From ``organisation:artifact:version``."""
        return cls(*text.split(":"))

    @property
    def file_name(self) -> str:
        """Name of the file as Maven Central has it."""
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.organisation}:{self.artifact}:{self.version}"


@dataclass(frozen=True)
class JarSet:
    """Jars that are used together. ``transitive``: with all that the named ones need."""

    name: str
    roots: tuple[str, ...]
    transitive: bool


SPARK = JarSet(
    "spark",
    (  # what Delta and the Kafka source need beside pyspark's own jars, found by running them
        "io.delta:delta-spark_4.1_2.13:4.3.1",
        "io.delta:delta-storage:4.3.1",
        "io.delta:delta-kernel-api:4.3.1",
        "io.delta:delta-kernel-defaults:4.3.1",
        "io.delta:delta-kernel-unitycatalog:4.3.1",
        "org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.1",
        "org.apache.spark:spark-token-provider-kafka-0-10_2.13:4.1.1",
        "org.apache.kafka:kafka-clients:3.9.1",
        "org.apache.commons:commons-pool2:2.12.1",
    ),
    transitive=False,
)
KAFKA = JarSet("kafka", ("org.apache.kafka:kafka_2.13:4.1.2",), transitive=True)
SETS = (SPARK, KAFKA)


class JarError(RuntimeError):
    """A jar could not be fetched, or is not the one that the lock file names."""


# For jars that are named one by one: nothing but the jar itself is asked for. Their SHA-256 is checked afterwards.
_JARS_ALONE = """\
<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers>
    <ibiblio name="central" m2compatible="true" usepoms="false" useMavenMetadata="false" checksums=""/>
  </resolvers>
</ivysettings>
"""


def lock_file() -> Path:
    """The lock file: one jar a line, ``<sha256>  <set>  <organisation>:<artifact>:<version>``."""
    return paths.checkout() / "include" / "config" / "jars.lock"


def prepare(report: Report = print) -> None:
    """Fetch every set that is not there yet.

    Raises:
        JarError: not reachable, or not what the lock file says.
    """
    with ThreadPoolExecutor(len(SETS)) as pool:
        list(pool.map(lambda jar_set: _folder(jar_set, report), SETS))


def spark_jars(report: Report = print) -> list[Path]:
    """The jars that a Spark session needs beside pyspark's own. Fetched on the first call.

    Raises:
        JarError: not reachable, or not what the lock file says.
    """
    return sorted(_folder(SPARK, report).glob("*.jar"))


def kafka_libraries(report: Report = print) -> Path:
    """The folder with the jars of the Kafka broker. Fetched on the first call.

    Raises:
        JarError: not reachable, or not what the lock file says.
    """
    return _folder(KAFKA, report)


def read_lock(jar_set: JarSet) -> dict[Jar, str]:
    """SHA-256 of each jar of a set."""
    lines = (line.split() for line in lock_file().read_text().splitlines())
    return {Jar.parse(jar): digest for digest, name, jar in lines if name == jar_set.name}


def write_lock(report: Report = print) -> Path:
    """Make the lock file anew from what Maven Central serves for the roots of ``SETS``."""
    lines = []
    for jar_set in SETS:
        with _fetched(jar_set.name, [Jar.parse(root) for root in jar_set.roots], jar_set.transitive, report) as folder:
            files = sorted(folder.glob("*/*/*/*.jar"))
            lines += [f"{_sha256(file)}  {jar_set.name}  {':'.join(file.parts[-4:-1])}" for file in files]
    write_atomically(lock_file(), ("\n".join(lines) + "\n").encode())
    return lock_file()


def _folder(jar_set: JarSet, report: Report) -> Path:
    locked = read_lock(jar_set)
    # The folder's name says which lock it satisfies: a changed lock fetches anew, and half a set is never seen.
    digest = hashlib.sha256(repr(sorted(map(str, locked.items()))).encode()).hexdigest()[:12]
    folder = paths.jars_folder() / jar_set.name / digest
    if not folder.exists():
        report(f"fetching {len(locked)} jars for {jar_set.name} from Maven Central")
        with _fetched(jar_set.name, list(locked), False, report) as files:
            checked = files.parent / "checked"
            checked.mkdir()
            for jar, expected in locked.items():
                _take(jar, expected, files, checked)
            _publish(checked, folder)
    return folder


def _take(jar: Jar, expected: str, files: Path, target: Path) -> None:
    file = files / jar.organisation / jar.artifact / jar.version / jar.file_name
    if not file.exists():
        raise JarError(f"{jar} was not fetched; is {lock_file()} older than the versions wanted?")
    if (found := _sha256(file)) != expected:
        raise JarError(f"{jar} has SHA-256 {found}, but {lock_file()} expects {expected}; it is not used")
    file.rename(target / jar.file_name)


def _publish(checked: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        checked.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was faster, with the same content
            raise


@contextmanager
def _fetched(name: str, jars: Sequence[Jar], transitive: bool, report: Report) -> Iterator[Path]:
    """A temporary folder with the jars at ``<organisation>/<artifact>/<version>/<file>``."""
    parent = paths.jars_folder()
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
    try:
        _run_ivy(name, jars, transitive, work, report)
        yield work / "jars"
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run_ivy(name: str, jars: Sequence[Jar], transitive: bool, work: Path, report: Report) -> None:
    (work / "ivy.xml").write_text(_ivy_file(name, jars))
    options = work / "java-options"  # a file, so that a proxy's password shows in no process list
    options.touch(mode=0o600)
    options.write_text("\n".join(map(_quoted, [f"-Divy.home={work / 'ivy'}", *java.network_options()])))
    # Relative names only: Ivy's patterns give brackets and blanks in a path a meaning.
    retrieve = "jars/[organisation]/[artifact]/[revision]/[artifact]-[revision].[ext]"
    ivy = ["-ivy", "ivy.xml", "-cache", "cache", "-retrieve", retrieve]
    if not transitive:
        (work / "settings.xml").write_text(_JARS_ALONE)
        ivy += ["-settings", "settings.xml"]
    process = subprocess.Popen(
        [java.java(), f"@{options.name}", "-jar", _ivy(), *ivy],
        cwd=work,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if "[SUCCESSFUL ]" in line:
            report(f"  {name}: {line.split('!')[-1].split('.jar')[0].strip()}")
    if process.wait() != 0:
        raise JarError(
            f"the jars for {name} could not be fetched from Maven Central. Behind a company proxy set HTTPS_PROXY, "
            "and SSL_CERT_FILE for its certificate authority. Ivy says:\n" + _cause(lines)
        )


def _cause(lines: list[str]) -> str:
    """The lines of Ivy's output that tell why: the tops of its lists of problems, else the end."""
    told = [line for line in lines if line.strip()]
    heads = [number for number, line in enumerate(told) if line.startswith("::::") and line.strip(": ")]
    return "\n".join(line for head in heads for line in told[head : head + 4]) if heads else "\n".join(told[-20:])


def _ivy_file(name: str, jars: Sequence[Jar]) -> str:
    wanted = "\n".join(
        f'    <dependency org="{jar.organisation}" name="{jar.artifact}" rev="{jar.version}" conf="default->default"/>'
        for jar in jars
    )
    return (
        f'<ivy-module version="2.0">\n  <info organisation="lpm" module="{name}"/>\n'
        '  <configurations><conf name="default"/></configurations>\n'
        f"  <dependencies>\n{wanted}\n  </dependencies>\n</ivy-module>\n"
    )


def _quoted(option: str) -> str:
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _ivy() -> Path:
    return next((java.package_folder("pyspark") / "jars").glob("ivy-*.jar"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
