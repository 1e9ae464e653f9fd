"""Volumes: the Files API, and the mount that lets a job open ``/Volumes/…`` as files.

On a Databricks cluster ``/Volumes`` is a FUSE mount of Unity Catalog's storage. A mount needs rights that a developer's
machine may not give, so the stand-in does to a run's parameters what the mount would do to its system calls: a path
below ``/Volumes/`` becomes the path of the folder behind it. The same for the paths inside a JSON settings file that a
parameter names: the run is given a copy of the file with its ``/Volumes/…`` values replaced.
"""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from lpm.local.databricks.errors import ApiError, invalid
from lpm.local.files import write_atomically

MOUNT = "/Volumes/"


class Volumes:
    """The folder behind ``/Volumes``."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "Volumes"

    def local(self, path: str) -> Path:
        """The file or folder behind a ``/Volumes/…`` path.

        Raises:
            ApiError: the path is not below a volume, or the volume does not exist.
        """
        parts = path.removeprefix(MOUNT).rstrip("/").split("/")
        if not path.startswith(MOUNT) or len(parts) < 3 or not all(parts) or {".", ".."} & set(parts):
            raise invalid(f"{path}: expected /Volumes/<catalog>/<schema>/<volume>/<path>")
        volume = self.root.joinpath(*parts[:3])
        if not volume.is_dir():
            raise ApiError(404, "NOT_FOUND", f"Volume '{'.'.join(parts[:3])}' does not exist.")
        return self.root.joinpath(*parts)

    def create(self, catalog: str, schema: str, volume: str) -> bool:
        """Make a volume; whether it was not there."""
        folder = self.root / catalog / schema / volume
        existed = folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        return not existed

    def mounted(self, value: str, copies: Path) -> str:
        """A parameter as a run sees it through the mount.

        Args:
            value: The parameter's value.
            copies: Folder for the copy of a settings file that the value names.
        """
        if not value.startswith(MOUNT):
            return value
        path = self.local(value)
        if path.suffix != ".json" or not path.is_file():
            return str(path)
        copy = copies / path.name
        settings = self._mounted_values(json.loads(path.read_text("utf-8")))
        write_atomically(copy, json.dumps(settings, ensure_ascii=False, indent=2).encode())
        return str(copy)

    def _mounted_values(self, value: Any) -> Any:
        match value:
            case str() if value.startswith(MOUNT):
                return str(self.local(value))
            case list():
                return [self._mounted_values(item) for item in value]
            case dict():
                return {key: self._mounted_values(item) for key, item in value.items()}
        return value


def routes(volumes: Volumes) -> APIRouter:
    """The Files API for volumes."""
    router = APIRouter(prefix="/api/2.0/fs")

    @router.put("/files/{path:path}", status_code=204)
    async def upload(path: str, request: Request, overwrite: bool = False) -> None:
        target = volumes.local(f"/{path}")
        if not target.parent.is_dir():
            raise ApiError(404, "NOT_FOUND", f"The directory of /{path} does not exist.")
        if target.exists() and not overwrite:
            raise ApiError(409, "ALREADY_EXISTS", f"The file /{path} already exists.")
        await _receive(target, request.stream())

    @router.head("/files/{path:path}")
    @router.get("/files/{path:path}")
    async def download(path: str) -> FileResponse:
        return FileResponse(_existing(volumes, path), media_type="application/octet-stream")

    @router.delete("/files/{path:path}", status_code=204)
    async def delete(path: str) -> None:
        _existing(volumes, path).unlink()

    @router.put("/directories/{path:path}", status_code=204)
    async def make_directory(path: str) -> None:
        volumes.local(f"/{path}").mkdir(parents=True, exist_ok=True)

    @router.head("/directories/{path:path}")
    async def directory(path: str) -> Response:
        if not volumes.local(f"/{path}").is_dir():
            raise ApiError(404, "NOT_FOUND", f"The directory /{path} does not exist.")
        return Response()

    @router.get("/directories/{path:path}")
    async def list_directory(path: str) -> dict[str, list[dict[str, Any]]]:
        folder = volumes.local(f"/{path}")
        if not folder.is_dir():
            raise ApiError(404, "NOT_FOUND", f"The directory /{path} does not exist.")
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".upload-"))
        return {"contents": [_entry(f"/{path.rstrip('/')}", entry) for entry in entries]}

    @router.delete("/directories/{path:path}", status_code=204)
    async def delete_directory(path: str) -> None:
        folder = volumes.local(f"/{path}")
        if folder.is_dir() and any(folder.iterdir()):
            raise ApiError(400, "DIRECTORY_NOT_EMPTY", f"The directory /{path} is not empty.")
        shutil.rmtree(folder, ignore_errors=True)

    return router


async def _receive(target: Path, chunks: AsyncIterator[bytes]) -> None:
    """Write an upload so that nobody sees half of it."""
    temporary = target.with_name(f".upload-{target.name}")
    with temporary.open("wb") as file:
        async for chunk in chunks:
            file.write(chunk)
    temporary.replace(target)


def _existing(volumes: Volumes, path: str) -> Path:
    file = volumes.local(f"/{path}")
    if not file.is_file():
        raise ApiError(404, "NOT_FOUND", f"The file /{path} does not exist.")
    return file


def _entry(folder: str, entry: Path) -> dict[str, Any]:
    status = entry.stat()
    about: dict[str, Any] = {
        "path": f"{folder}/{entry.name}",
        "name": entry.name,
        "is_directory": entry.is_dir(),
        "last_modified": int(status.st_mtime * 1000),
    }
    return about if entry.is_dir() else {**about, "file_size": status.st_size}
