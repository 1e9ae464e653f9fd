"""Files that others read while we write."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file so that nobody ever sees half of it, whoever else writes it now. Makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary = Path(name)
    temporary.chmod(mode)
    temporary.replace(path)
