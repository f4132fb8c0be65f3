"""Analysis -> GIS files: GeoJSON, GeoPackage, FlatGeobuf, GeoParquet and cloud-optimised GeoTIFF, each with its style.

Guarantees: the suffix decides the format; a file bears its final name only when it is whole; classes keep their
names and colours in every format; importing this package does not import torch. The package itself can be called,
so that ``engine.export(analysis, "regions.gpkg")`` means the function whoever was imported first.
"""

import sys
from types import ModuleType
from typing import Any

from engine.export.exporter import export
from engine.export.formats import FORMATS, Format, Layer, format_for

__all__ = ["FORMATS", "Format", "Layer", "export", "format_for"]


class _Package(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        """Same as ``engine.export.export``."""
        return export(*args, **options)


sys.modules[__name__].__class__ = _Package
