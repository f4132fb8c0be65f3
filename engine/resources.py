"""Where the files that travel with the program lie: models, recipes, icons, colour maps.

Guarantees: the same answer's contents from a checkout (``resources/`` beside ``engine/``) and from an installed wheel
(``engine/_resources/``). Importing this module imports nothing but the standard library.
"""

from __future__ import annotations

from pathlib import Path


def resources_dir() -> Path:
    """Folder of the shipped resources."""
    package = Path(__file__).resolve().parent
    packed = package / "_resources"
    return packed if packed.is_dir() else package.parent / "resources"
