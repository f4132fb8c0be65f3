"""What is open: scenes and analyses with their layers on the map, and which of them is meant.

Guarantees: everything here lives on the GUI thread and reads nothing; each layer belongs to exactly one scene or
analysis; all layers share one CRS; closing something takes its layers off the map first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QObject, Signal

from engine.errors import SceneError

if TYPE_CHECKING:
    from engine.inference.analysis import Analysis
    from engine.inference.detection.objects import FoundObjects
    from engine.inference.quadtree import SceneQuadtree, Selection
    from engine.scene import Scene
    from rs_viewer.map.boxes import BoxLayer
    from rs_viewer.map.layers import Layer, SceneLayer
    from rs_viewer.map.stack import LayerStack

KINDS = ("confidence", "classes", "regions")
"""Maps of an analysis, bottom to top."""
MAIN_KINDS = {"segmentation": "classes", "change": "classes", "detection": "objects", "classification": "classes"}
"""The layer that stands for an analysis of each kind."""
POINTED: dict[str, Literal["regions", "objects", "cells"]] = {"detection": "objects", "classification": "cells"}
"""What pointing is about in analyses of each kind, where not regions."""
LAYER_NAMES = {"confidence": "Confidence", "classes": "Classes", "regions": "Regions", "objects": "Objects"}
CHANGE_NAMES = {"confidence": "Probability of change", "classes": "Changes", "regions": "Outlines of changes"}
CLASS_OPACITY = 0.6
CELL_OPACITY = 0.45
"""Of class maps that say what a whole place is: what is there should still be seen."""


@dataclass(eq=False)
class OpenScene:
    """A scene on the map."""

    scene: Scene
    source: tuple[str, ...]
    layer: SceneLayer

    @property
    def main_layer(self) -> SceneLayer:
        """The layer that stands for it in the list."""
        return self.layer


@dataclass(eq=False)
class OpenAnalysis:
    """An analysis on the map, and the open scene it belongs to, if any.

    Attributes:
        layers: Its maps or its objects, by kind.
        objects: What a detector found, as far as it has been read.
    """

    analysis: Analysis
    path: Path
    scene: OpenScene | None
    complete: bool
    layers: dict[str, Layer] = field(default_factory=dict)
    objects: FoundObjects | None = None

    @property
    def main_layer(self) -> Layer:
        """The layer that stands for it in the list."""
        return self.layers[MAIN_KINDS[self.analysis.kind]]


@dataclass(eq=False)
class OpenTree:
    """A scene's quadtree on the map.

    Attributes:
        tree: The scores.
        layer: Draws the patches.
        scene: The open scene it belongs to, if any.
        tokens: The budget asked for.
        shown_tokens: The budget that the layer shows, 0 before it shows any.
        selection: The patches the layer shows.
        coloured: Whether patches are coloured by size.
    """

    tree: SceneQuadtree
    layer: BoxLayer
    scene: OpenScene | None
    tokens: int
    shown_tokens: int = 0
    selection: Selection | None = None
    coloured: bool = True


class Workspace(QObject):
    """Scenes, analyses and quadtrees that are open.

    Args:
        stack: The map's layers.

    Signals:
        sceneChanged: Another scene is meant, or none.
        analysisChanged: Another analysis is meant, or the same has new contents, or none.
        treeChanged: Another quadtree is meant, or none: pointing is about its patches while its layer is chosen.
    """

    sceneChanged = Signal(object)
    analysisChanged = Signal(object)
    treeChanged = Signal(object)

    def __init__(self, stack: LayerStack, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.stack = stack
        self.scenes: list[OpenScene] = []
        self.analyses: list[OpenAnalysis] = []
        self.scene: OpenScene | None = None
        self.analysis: OpenAnalysis | None = None
        self.trees: list[OpenTree] = []
        self.tree: OpenTree | None = None

    @property
    def pointed(self) -> Literal["regions", "objects", "cells", "patches"]:
        """What pointing into the map is about."""
        if self.tree is not None and self.tree.layer.visible:
            return "patches"
        kind = self.analysis.analysis.kind if self.analysis is not None else "segmentation"
        return POINTED.get(kind, "regions")

    @property
    def empty(self) -> bool:
        """Whether nothing is open."""
        return not self.scenes and not self.analyses and not self.trees

    def find_scene(self, source: tuple[str, ...]) -> OpenScene | None:
        """The open scene of a source."""
        return next((item for item in self.scenes if item.source == source), None)

    def find_analysis(self, path: str | Path) -> OpenAnalysis | None:
        """The open analysis of a folder."""
        wanted = Path(path).resolve()
        return next((item for item in self.analyses if item.path.resolve() == wanted), None)

    def fits(self, grid: object) -> bool:
        """Whether something on this grid can be shown beside what is open."""
        return self.stack.grid is None or getattr(grid, "crs", None) == self.stack.grid.crs

    def add_scene(self, scene: Scene, source: tuple[str, ...]) -> OpenScene:
        """Put a scene on the map and make it the one that is meant.

        Raises:
            SceneError: Its CRS is not that of the map.
        """
        from rs_viewer.map.layers import SceneLayer

        known = self.find_scene(source)
        if known is not None:
            scene.close()
            self.choose(known.layer)
            return known
        if not self.fits(scene.grid):
            scene.close()
            raise SceneError(
                f"the scene is in {scene.grid.crs or 'no CRS'}, the map in {self.stack.grid.crs or 'no CRS'}",
                where=source[0],
                remedy="Close what is open first (File > Close All).",
            )
        layer = SceneLayer(scene)
        item = OpenScene(scene, source, layer)
        self.scenes.append(item)
        self.stack.add(layer, self._top_of_scenes())
        self._mean(item, None)
        return item

    def add_later(self, first: OpenScene | None, after: Scene) -> OpenScene:
        """Put the later scene of a comparison on the map; two of one name are told apart by their time.

        Args:
            first: The earlier one, None where it cannot be read.
            after: The later one.

        Raises:
            SceneError: Its CRS is not that of the map.
        """
        name = after.name
        second = self.add_scene(after, tuple(after.sources))
        if first is not None and second is not first and name == first.scene.name:
            first.layer.name, second.layer.name = f"{name} (earlier)", f"{name} (later)"
        return second

    def _top_of_scenes(self) -> int:
        layers = {item.layer for item in self.scenes}
        return max((self.stack.index(layer) + 1 for layer in self.stack if layer in layers), default=0)

    def add_analysis(self, analysis: Analysis, path: str | Path, scene: OpenScene | None) -> OpenAnalysis:
        """Put the maps of an analysis on the map, in place of those of the same folder.

        Raises:
            SceneError: Its CRS is not that of the map.
        """
        known = self.find_analysis(path)
        if known is not None and _same_kind(known.analysis, analysis):
            return self._renew(known, analysis)
        if known is not None:
            self.close_layer(known.main_layer)
        if not self.fits(analysis.grid):
            raise SceneError(
                f"the analysis is in {analysis.grid.crs or 'no CRS'}, the map in {self.stack.grid.crs or 'no CRS'}",
                where=path,
                remedy="Close what is open first (File > Close All).",
            )
        item = OpenAnalysis(analysis, Path(path), scene, analysis.complete)
        item.layers = _layers_of(analysis)
        for layer in item.layers.values():
            self.stack.add(layer)
        self.analyses.append(item)
        self._mean(scene or self.scene, item)
        return item

    def _renew(self, item: OpenAnalysis, analysis: Analysis) -> OpenAnalysis:
        from rs_viewer.map.layers import RasterLayer

        item.analysis, item.complete = analysis, analysis.complete
        for layer in item.layers.values():
            if isinstance(layer, RasterLayer):
                layer.set_analysis(analysis)
        self._mean(item.scene or self.scene, item, changed=True)
        return item

    def add_tree(self, item: OpenTree) -> None:
        """Put a quadtree on the map and make it the one that is meant."""
        self.trees.append(item)
        self.stack.add(item.layer)
        self._mean_tree(item)

    def owner(self, layer: Layer) -> OpenScene | OpenAnalysis | OpenTree | None:
        """What a layer belongs to."""
        for scene in self.scenes:
            if scene.layer is layer:
                return scene
        for analysis in self.analyses:
            if layer in analysis.layers.values():
                return analysis
        return next((tree for tree in self.trees if tree.layer is layer), None)

    def choose(self, layer: Layer | None) -> None:
        """Mean the scene, analysis or quadtree of this layer from now on."""
        owner = self.owner(layer) if layer is not None else None
        self._mean_tree(owner if isinstance(owner, OpenTree) else None)
        if isinstance(owner, OpenScene):
            mine = self.analysis if self.analysis is not None and self.analysis.scene is owner else None
            self._mean(owner, mine or next((a for a in reversed(self.analyses) if a.scene is owner), None))
        elif isinstance(owner, OpenAnalysis):
            self._mean(owner.scene or self.scene, owner)

    def close_layer(self, layer: Layer) -> None:
        """Close what a layer belongs to: a scene with its layer, or an analysis with all of its maps."""
        owner = self.owner(layer)
        if isinstance(owner, OpenScene):
            shown: tuple[OpenAnalysis | OpenTree, ...] = (*self.analyses, *self.trees)
            for item in shown:
                item.scene = None if item.scene is owner else item.scene
            self.scenes.remove(owner)
            self.stack.remove(owner.layer)
        elif isinstance(owner, OpenAnalysis):
            self.analyses.remove(owner)
            for other in owner.layers.values():
                self.stack.remove(other)
        elif isinstance(owner, OpenTree):
            self.trees.remove(owner)
            if owner is self.tree:
                self._mean_tree(None)
            self.stack.remove(layer)
        elif layer in self.stack:
            self.stack.remove(layer)
        scene = self.scene if self.scene in self.scenes else (self.scenes[-1] if self.scenes else None)
        left = self.analysis if self.analysis in self.analyses else (self.analyses[-1] if self.analyses else None)
        self._mean(scene, left)

    def close_all(self) -> None:
        """Close everything."""
        self.scenes.clear()
        self.analyses.clear()
        self.trees.clear()
        self._mean(None, None)
        self._mean_tree(None)
        self.stack.clear()

    def _mean_tree(self, tree: OpenTree | None) -> None:
        if tree is not self.tree:
            self.tree = tree
            self.treeChanged.emit(tree)

    def _mean(self, scene: OpenScene | None, analysis: OpenAnalysis | None, *, changed: bool = False) -> None:
        if scene is not self.scene:
            self.scene = scene
            self.sceneChanged.emit(scene)
        if analysis is not self.analysis or changed:
            self.analysis = analysis
            self.analysisChanged.emit(analysis)


def _layers_of(analysis: Analysis) -> dict[str, Layer]:
    from rs_viewer.map.boxes import BoxLayer
    from rs_viewer.map.layers import RasterLayer

    if analysis.kind == "detection":
        return {"objects": BoxLayer(LAYER_NAMES["objects"], analysis.grid)}
    layers: dict[str, Layer] = {}
    for kind in KINDS:
        if kind == "regions" and analysis.kind == "classification":
            continue
        names = CHANGE_NAMES if analysis.kind == "change" else LAYER_NAMES
        layer = RasterLayer(analysis, kind, name=names[kind])  # type: ignore[arg-type]
        layer.visible = kind != "confidence"
        if kind == "classes":
            layer.opacity = CELL_OPACITY if analysis.kind == "classification" else CLASS_OPACITY
        layers[kind] = layer
    return layers


def _same_kind(one: Analysis, other: Analysis) -> bool:
    """Whether one can take the other's place on the map."""
    grids = one.grid, other.grid
    same = all(len({getattr(grid, name) for grid in grids}) == 1 for name in ("width", "height", "transform"))
    return same and one.kind == other.kind and one.grid.crs == other.grid.crs
