"""The one way from an analysis to a GIS file: ``export(analysis, "regions.gpkg")``.

Guarantees: the suffix decides the format; nothing half-written bears a final name; the style lies beside the file
under the same name; every refusal says what would work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ExportError, OptionError
from engine.export.formats import Layer, format_for
from engine.export.qml import kept_palette, style
from engine.export.raster import palette_for, write_map
from engine.export.vector import write_polygons
from engine.export.writing import check_target, whole_file, write_text
from engine.inference.pam import class_palette, sidecar
from engine.inference.store import FINAL_NAMES

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis


def export(
    analysis: Analysis,
    path: str | Path,
    *,
    layer: Layer | None = None,
    simplify_px: float = 0.0,
    classes: Sequence[str] | None = None,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Path:
    """Write an analysis to a GIS file and its style beside it. An existing file is replaced at the end.

    Args:
        analysis: A complete analysis.
        path: The file; its suffix decides the format (see ``FORMATS``).
        layer: What to write; None is regions (objects of a detection, cells of a classification) for vector formats
            and classes for rasters.
        simplify_px: Outlines may move this many pixels to become simpler; neighbours keep sharing their edges.
        classes: Names of the classes to keep; None keeps all.
        progress: Called with the share that is done, 0 to 1.
        cancel: Asked between batches.

    Returns:
        The file.

    Raises:
        ExportError: This analysis cannot be written that way.
        OptionError: An option has a value that cannot work.
        OutputError: The file cannot be written.
        CancelledError: ``cancel`` said so; nothing was written.
    """
    path = Path(path).expanduser().absolute()
    fmt, what = format_for(path, layer, analysis.kind)
    if not analysis.complete:
        raise ExportError(
            "the analysis is not complete",
            where=analysis.path,
            remedy="Run it again with the same output folder to finish it, then export.",
        )
    if path.resolve().parent == analysis.path.resolve() and _is_part(path):
        raise ExportError(
            "the export would replace a part of the analysis itself",
            where=path,
            remedy="Choose another name or folder.",
        )
    if not 0 <= simplify_px <= 1000:
        raise OptionError(f"simplify_px is {simplify_px}", remedy="Use a number from 0 (pixel edges) to 1000.")
    if simplify_px and not fmt.is_vector:
        raise OptionError(
            "rasters cannot be simplified", where=path, remedy="Leave simplify_px out, or export to a vector format."
        )
    if simplify_px and what != "regions":
        raise OptionError(
            "boxes have four corners and cannot be simplified", where=path, remedy="Leave simplify_px out."
        )
    names = _class_names(analysis, classes)
    check_target(path)
    qml_path = path.with_suffix(".qml")
    kept = [cls for cls in analysis.card.classes if names is None or cls.name in names]
    if fmt.is_vector:
        areas = what != "detections"
        palette = kept_palette(qml_path, class_palette(analysis.card.classes)) if areas else ()
        qml = style(kept, palette, filled=areas)
        with whole_file(path) as draft:
            write_polygons(
                analysis,
                what,
                fmt,
                draft,
                qml,
                simplify_px=simplify_px,
                classes=names,
                progress=progress,
                cancel=cancel,
            )
        write_text(qml_path, qml)
        return path
    palette = palette_for(analysis, what, names)
    with whole_file(path) as draft:
        write_map(analysis, what, draft, palette, classes=names, progress=progress, cancel=cancel)
    write_text(path.with_name(path.name + ".aux.xml"), sidecar(palette, category_names=what != "regions"))
    write_text(qml_path, style(kept, palette))
    return path


def _class_names(analysis: Analysis, classes: Sequence[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    known = {cls.name.casefold(): cls.name for cls in analysis.card.classes}
    unknown = [name for name in classes if name.casefold() not in known]
    if unknown or not classes:
        what = f"there is no class {unknown[0]!r}" if unknown else "no class was named"
        raise ExportError(what, where=analysis.path, remedy=f"Classes are {', '.join(known.values())}.")
    return tuple(known[name.casefold()] for name in classes)


def _is_part(path: Path) -> bool:
    return path.name in FINAL_NAMES
