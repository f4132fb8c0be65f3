"""What can be written, by suffix: the one list that the dialog, the command line and the exporter read.

Guarantees: the first layer of a format is what it takes where nobody says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from engine.errors import ExportError

Layer = Literal["regions", "classes", "confidence"]


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    Attributes:
        suffix: File name ending, with its dot.
        title: Its name for people.
        layers: Layers it can hold, the default first.
        driver: GDAL's name for it, None where GDAL is not what writes it.
    """

    suffix: str
    title: str
    layers: tuple[Layer, ...]
    driver: str | None

    @property
    def is_vector(self) -> bool:
        """Whether it holds polygons; otherwise it holds pixels."""
        return self.layers == ("regions",)


FORMATS: tuple[Format, ...] = (
    Format(".gpkg", "GeoPackage", ("regions",), "GPKG"),
    Format(".geojson", "GeoJSON (RFC 7946)", ("regions",), "GeoJSON"),
    Format(".fgb", "FlatGeobuf", ("regions",), "FlatGeobuf"),
    Format(".parquet", "GeoParquet", ("regions",), None),
    Format(".tif", "Cloud-optimised GeoTIFF", ("classes", "confidence", "regions"), "COG"),
)


def format_for(path: Path, layer: str | None) -> tuple[Format, Layer]:
    """The format that a file name asks for and the layer that goes into it.

    Args:
        path: The file to write.
        layer: The layer asked for; None takes the format's first.

    Raises:
        ExportError: The suffix is unknown, or the format cannot hold the layer.
    """
    suffix = path.suffix.lower()
    found = next((fmt for fmt in FORMATS if fmt.suffix == suffix), None)
    known = ", ".join(f"{fmt.suffix} ({fmt.title})" for fmt in FORMATS)
    if found is None:
        said = f"the suffix {path.suffix!r} names no format" if path.suffix else "the file name has no suffix"
        raise ExportError(f"{said} that can be written", where=path, remedy=f"Use one of {known}.")
    if layer is None:
        return found, found.layers[0]
    if layer not in get_args(Layer):
        raise ExportError(
            f"there is no layer {layer!r}", where=path, remedy=f"Layers are {', '.join(get_args(Layer))}."
        )
    for held in found.layers:
        if held == layer:
            return found, held
    others = ", ".join(fmt.suffix for fmt in FORMATS if layer in fmt.layers)
    raise ExportError(f"{found.title} cannot hold the layer {layer!r}", where=path, remedy=f"Use {others} for it.")
