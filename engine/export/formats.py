"""What can be written, by suffix: the one list that the dialog, the command line and the exporter read.

Guarantees: where nobody says otherwise a format takes the first of its layers that the kind of analysis holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from engine.errors import ExportError

Layer = Literal["regions", "classes", "confidence", "detections", "cells"]
LAYERS_OF: dict[str, tuple[Layer, ...]] = {
    "segmentation": ("regions", "classes", "confidence"),
    "detection": ("detections",),
    "change": ("regions", "classes", "confidence"),
    "classification": ("cells", "classes", "confidence"),
}
"""What analyses of each kind hold."""
_POLYGONS: tuple[Layer, ...] = ("regions", "detections", "cells")


@dataclass(frozen=True, slots=True)
class Format:
    """A file format.

    Attributes:
        suffix: File name ending, with its dot.
        title: Its name for people.
        layers: Layers it can hold, the default of each kind first.
        driver: GDAL's name for it, None where GDAL is not what writes it.
    """

    suffix: str
    title: str
    layers: tuple[Layer, ...]
    driver: str | None

    @property
    def is_vector(self) -> bool:
        """Whether it holds polygons; otherwise it holds pixels."""
        return self.layers == _POLYGONS


FORMATS: tuple[Format, ...] = (
    Format(".gpkg", "GeoPackage", _POLYGONS, "GPKG"),
    Format(".geojson", "GeoJSON (RFC 7946)", _POLYGONS, "GeoJSON"),
    Format(".fgb", "FlatGeobuf", _POLYGONS, "FlatGeobuf"),
    Format(".parquet", "GeoParquet", _POLYGONS, None),
    Format(".tif", "Cloud-optimised GeoTIFF", ("classes", "confidence", "regions"), "COG"),
)


def format_for(path: Path, layer: str | None, kind: str = "segmentation") -> tuple[Format, Layer]:
    """The format that a file name asks for and the layer that goes into it.

    Args:
        path: The file to write.
        layer: The layer asked for; None takes the format's first that the analysis holds.
        kind: Kind of the analysis.

    Raises:
        ExportError: The suffix is unknown, the format cannot hold the layer, or the analysis does not have it.
    """
    suffix = path.suffix.lower()
    found = next((fmt for fmt in FORMATS if fmt.suffix == suffix), None)
    known = ", ".join(f"{fmt.suffix} ({fmt.title})" for fmt in FORMATS)
    if found is None:
        said = f"the suffix {path.suffix!r} names no format" if path.suffix else "the file name has no suffix"
        raise ExportError(f"{said} that can be written", where=path, remedy=f"Use one of {known}.")
    there = LAYERS_OF.get(kind, ())
    if layer is not None and layer not in get_args(Layer):
        raise ExportError(f"there is no layer {layer!r}", where=path, remedy=f"Layers are {', '.join(there)}.")
    if layer is not None and layer not in there:
        raise ExportError(
            f"a {kind} analysis has no layer {layer!r}", where=path, remedy=f"It has {' and '.join(there) or 'none'}."
        )
    for held in found.layers:
        if held in there and layer in (None, held):
            return found, held
    wanted = layer or " and ".join(there)
    others = ", ".join(fmt.suffix for fmt in FORMATS if set(fmt.layers) & ({layer} if layer else set(there)))
    raise ExportError(f"{found.title} cannot hold the layer {wanted!r}", where=path, remedy=f"Use {others} for it.")
