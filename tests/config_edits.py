"""Mistakes in a copy of the configuration."""

from pathlib import Path


def replaced(path: Path, old: str, new: str, count: int = 1) -> int:
    """Replace a text that has to be there. Returns the number of its line.

    Args:
        path: The file.
        old: What is there.
        new: What stands there afterwards.
        count: How many of its places are changed, from the first; -1 for all.
    """
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path.name}"
    path.write_text(text.replace(old, new, count), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1
