"""Write files as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft to write in place of ``path``: that is the old one or the new, never half of one."""
    draft = path.with_suffix(".tmp")
    yield draft
    draft.replace(path)
