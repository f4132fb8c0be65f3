"""Several files as one raster: mosaics of tiles and stacks of one-band files, as GDAL VRT documents.

Members keep their pixels: tiles are placed at whole pixels of the first file's grid (at most half a pixel off, which is
said) and never interpolated. Where tiles overlap the later one lies on top, its missing pixels let the earlier show.
Guarantees: only members that fit (CRS, bands, type, resolution) are joined; what differs is named in the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from affine import Affine

from engine.errors import EngineWarning, GeolocationWarning, SceneError
from engine.scene.header import Header, is_gdal_name

_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "uint64": "UInt64", "int64": "Int64", "float32": "Float32", "float64": "Float64",
}  # fmt: skip


def is_stack(headers: Sequence[Header]) -> bool:
    """Whether files are the bands of one raster: one band each, all over the same ground."""
    first = headers[0]
    if any(len(h.data_bands) != 1 or h.palette is not None for h in headers):
        return False
    return all(_same_extent(first, h) for h in headers[1:])


def stack_document(headers: Sequence[Header]) -> tuple[str, tuple[EngineWarning, ...]]:
    """One-band files as the bands of one raster on the finest file's grid.

    Raises:
        SceneError: They differ in CRS or data type.
    """
    finest = max(headers, key=lambda h: h.width)
    for header in headers:
        _require_same(finest, header, bands=False)
    warnings: tuple[EngineWarning, ...] = ()
    coarser = [h for h in headers if (h.width, h.height) != (finest.width, finest.height)]
    if coarser:
        warnings = (
            GeolocationWarning(
                f"{len(coarser)} of {len(headers)} bands are coarser than the finest; their pixels are repeated."
            ),
        )
    root = _root(finest, finest.width, finest.height, finest.transform)
    for number, header in enumerate(headers, 1):
        band = _band(root, header, number, color="Undefined")
        _add_source(band, header, str(header.data_bands[0]), (0, 0, finest.width, finest.height))
    _add_mask(root, [(h, (0, 0, finest.width, finest.height)) for h in headers], outside=False)
    return ET.tostring(root, encoding="unicode"), warnings


def mosaic_document(headers: Sequence[Header]) -> tuple[str, tuple[EngineWarning, ...]]:
    """Tiles as one raster.

    Raises:
        SceneError: They differ in CRS, bands, data type or resolution.
    """
    first = headers[0]
    for header in headers[1:]:
        _require_same(first, header, bands=True)
    placed: list[tuple[Header, tuple[int, int, int, int]]] = []
    worst = 0.0
    for header in headers:
        col, row = ~first.transform @ (header.transform.c, header.transform.f)
        worst = max(worst, abs(col - round(col)), abs(row - round(row)))
        placed.append((header, (round(col), round(row), header.width, header.height)))
    left, top = min(p[0] for _, p in placed), min(p[1] for _, p in placed)
    right, bottom = max(p[0] + p[2] for _, p in placed), max(p[1] + p[3] for _, p in placed)
    placed = [(h, (p[0] - left, p[1] - top, p[2], p[3])) for h, p in placed]
    root = _root(first, right - left, bottom - top, first.transform @ Affine.translation(left, top))
    shared = sorted(set.intersection(*(set(h.overviews) for h in headers)))
    if shared:
        ET.SubElement(root, "OverviewList", resampling="average").text = " ".join(map(str, shared))
    for number in range(1, len(first.data_bands) + 1):
        band = _band(root, first, number)
        for header, place in placed:
            _add_source(band, header, str(header.data_bands[number - 1]), place)
    _add_mask(root, placed, outside=True)
    warnings: tuple[EngineWarning, ...] = ()
    if worst > 0.05:
        warnings = (
            GeolocationWarning(
                f"The tiles do not lie on one pixel grid; they were moved by up to {worst:.2f} pixels to join them."
            ),
        )
    return ET.tostring(root, encoding="unicode"), warnings


def _same_extent(a: Header, b: Header) -> bool:
    """Corners agree to half of the finer file's pixel."""
    fine, coarse = (a, b) if a.width >= b.width else (b, a)
    inverse = ~fine.transform
    start = inverse @ (coarse.transform @ (0, 0))
    end = inverse @ (coarse.transform @ (coarse.width, coarse.height))
    return bool(
        max(abs(start[0]), abs(start[1])) < 0.5 and abs(end[0] - fine.width) < 0.5 and abs(end[1] - fine.height) < 0.5
    )


def _require_same(first: Header, other: Header, *, bands: bool) -> None:
    differences = list(_differences(first, other, bands))
    if differences:
        raise SceneError(
            f"the files do not belong to one raster: {differences[0]} in {Path(first.where).name}",
            where=other.where,
            remedy="Open them one by one, or bring them to one CRS, type and resolution first (gdalwarp).",
        )


def _differences(first: Header, other: Header, bands: bool) -> Iterator[str]:
    if other.is_complex:
        yield "complex numbers here, or also"
    if other.crs != first.crs:
        yield f"CRS {_crs(other)} here, {_crs(first)}"
    if other.dtype != first.dtype:
        yield f"data type {other.dtype} here, {first.dtype}"
    if not bands:
        return
    if len(other.data_bands) != len(first.data_bands):
        yield f"{len(other.data_bands)} bands here, {len(first.data_bands)}"
    if (other.palette is None) != (first.palette is None) or other.palette != first.palette:
        yield "another palette here than"
    if not (first.georeferenced and other.georeferenced):
        yield "no place on a map here, or none"
    a, b = first.transform, other.transform
    pixel = max(abs(a.a), abs(a.b), abs(a.d), abs(a.e))
    drift = max(abs(a.a - b.a), abs(a.b - b.b), abs(a.d - b.d), abs(a.e - b.e)) / pixel
    if drift * max(first.width, first.height, other.width, other.height) > 0.5:
        yield f"pixels of {_pixel(b)} here, {_pixel(a)}"


def _pixel(transform: Affine) -> str:
    return f"{abs(transform.a or transform.b):.7g} x {abs(transform.e or transform.d):.7g}"


def _crs(header: Header) -> str:
    return header.crs.to_string() if header.crs else "unknown"


def _root(first: Header, width: int, height: int, transform: Affine) -> ET.Element:
    root = ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if first.crs is not None:
        ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2").text = first.crs.to_wkt()
    if first.georeferenced:
        ET.SubElement(root, "GeoTransform").text = ", ".join(repr(float(v)) for v in transform.to_gdal())
    return root


def _band(root: ET.Element, header: Header, number: int, color: str | None = None) -> ET.Element:
    fact = header.bands[0 if color else number - 1]
    band = ET.SubElement(root, "VRTRasterBand", dataType=_TYPES[header.dtype], band=str(number))
    if fact.description:
        ET.SubElement(band, "Description").text = fact.description
    if header.nodata is not None:
        ET.SubElement(band, "NoDataValue").text = repr(header.nodata)
    if header.palette is not None:
        color = "Palette"
        table = ET.SubElement(band, "ColorTable")
        for code in range(max(header.palette) + 1):
            entry = dict(zip(("c1", "c2", "c3", "c4"), map(str, header.palette.get(code, (0, 0, 0, 0))), strict=True))
            ET.SubElement(table, "Entry", entry)
    ET.SubElement(band, "ColorInterp").text = color or fact.color.capitalize()
    ET.SubElement(band, "Scale").text = repr(float(fact.scale))
    ET.SubElement(band, "Offset").text = repr(float(fact.offset))
    if fact.unit:
        ET.SubElement(band, "UnitType").text = fact.unit
    if fact.tags:
        metadata = ET.SubElement(band, "Metadata")
        for key, value in fact.tags.items():
            if "wavelength" in key.lower():
                ET.SubElement(metadata, "MDI", key=key).text = value
    return band


def _add_source(band: ET.Element, header: Header, number: str, place: tuple[int, int, int, int]) -> None:
    """A member's band at a place; missing pixels are not painted."""
    masked = header.nodata is not None or header.mask in ("mask", "alpha")
    source = ET.SubElement(band, "ComplexSource" if masked else "SimpleSource")
    _add_file(source, header, number, place)
    if header.nodata is not None:
        ET.SubElement(source, "NODATA").text = repr(header.nodata)
    elif header.mask in ("mask", "alpha"):
        ET.SubElement(source, "UseMaskBand").text = "true"


def _add_file(source: ET.Element, header: Header, number: str, place: tuple[int, int, int, int]) -> None:
    relative = "0"
    name = header.source if is_gdal_name(header.source) else str(Path(header.source).absolute())
    ET.SubElement(source, "SourceFilename", relativeToVRT=relative, shared="0").text = name
    ET.SubElement(source, "SourceBand").text = number
    ET.SubElement(
        source, "SourceProperties", RasterXSize=str(header.width), RasterYSize=str(header.height),
        DataType=_TYPES.get(header.dtype, "Byte"), BlockXSize=str(header.block_shape[1]),
        BlockYSize=str(header.block_shape[0]),
    )  # fmt: skip
    ET.SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=str(header.width), ySize=str(header.height))
    ET.SubElement(source, "DstRect", xOff=str(place[0]), yOff=str(place[1]), xSize=str(place[2]), ySize=str(place[3]))


def _add_mask(root: ET.Element, placed: Sequence[tuple[Header, tuple[int, int, int, int]]], *, outside: bool) -> None:
    """A mask of the whole where a nodata value does not do.

    Args:
        root: The document.
        placed: Members and their places.
        outside: Whether parts may lie outside all members.
    """
    if all(h.nodata is not None for h, _ in placed):
        return
    if not outside and all(h.mask == "none" for h, _ in placed):
        return
    band = ET.SubElement(ET.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
    for header, place in placed:
        source = ET.SubElement(band, "ComplexSource")
        _add_file(source, header, f"mask,{header.data_bands[0]}", place)
        ET.SubElement(source, "NODATA").text = "0"
