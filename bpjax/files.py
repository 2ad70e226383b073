"""Files that are there whole or not at all."""

from pathlib import Path


def write_whole(path: Path, text: str) -> Path:
    """Writes a text file: either the whole of it or, on a failure, nothing.

    Returns:
      The path.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    return partial.replace(path)
