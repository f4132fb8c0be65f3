"""Scoring a scene of any size: patches of every size scored piece by piece, as if the scene lay in memory at once.

Blur scores look a few pixels beyond their patch, so pieces are read with that margin and no border shows: every score
is the same, bit for bit, wherever pieces end. Networks see the scene in windows of one plan that is fixed by scene and
options; where windows overlap, their importance is blended (see ``windows``).

Guarantees: memory is bounded by a piece and the scores themselves (about 2 bytes a cell of ``min_size``, for networks
some 30); pixels without data count for nothing and patches without any are left out; nothing is kept on cancelling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from engine.errors import CancelledError, OptionError, SceneError
from engine.inference.quadtree.blur import BlurScorer
from engine.inference.quadtree.options import QuadtreeOptions, score_facts
from engine.inference.quadtree.pieces import Piece, pieces
from engine.inference.quadtree.tree import Floats, SceneQuadtree
from engine.scene import Scene
from engine.scene.stretch import percentile_stretch
from engine.tokenizers.quadtree import BandBlur, BandStatistics, PixelBlur, Random, patch_sizes
from engine.tokenizers.quadtree.blur import BAND_CLIP

if TYPE_CHECKING:
    from engine.models.loaded import LoadedModel

Progress = Callable[[float], None]
Cancel = Callable[[], bool]

_PIECE_PX = 512
_SAMPLE_PX = 1024


def score_scene(
    scene: Scene,
    options: QuadtreeOptions | None = None,
    *,
    model: LoadedModel | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SceneQuadtree:
    """Score all patches of a scene.

    Args:
        scene: The scene; ``blur`` takes its red, green and blue bands, ``bands`` all of them, networks those they were
            trained on.
        options: What scores, and patch sizes.
        model: What ``features`` and ``gradcam`` ask where the options name nothing.
        progress: Called with the share that is done, 0 to 1.
        cancel: Asked between pieces.

    Returns:
        The tree; ``select`` finds the patches of a budget.

    Raises:
        OptionError: Sizes do not go together, or the scorer lacks what it needs.
        SceneError: The scene cannot be read, or holds no valid pixel.
        CancelledError: ``cancel`` said so.
    """
    options = options or QuadtreeOptions()
    patch_sizes(options.min_size, options.max_size)
    if scene.dtype.startswith("complex"):
        raise SceneError(
            f"the scene holds {scene.dtype} values, scorers take real numbers",
            where=scene.name,
            remedy="Convert it to its magnitude first, for example with gdal_calc.",
        )
    report, stop = progress or (lambda share: None), cancel or (lambda: False)
    if options.scorer in ("features", "gradcam"):
        from engine.inference.quadtree.windows import score_windows

        tree = score_windows(scene, options, report, stop, model)
    else:
        tree = _score_pieces(scene, options, report, stop)
    if not tree.occupied.any():
        raise SceneError("the scene holds no valid pixel", where=scene.name, remedy="Check its nodata value.")
    return tree


def check_cancel(cancel: Cancel) -> None:
    """Leave where the user said so."""
    if cancel():
        raise CancelledError("scoring was cancelled", remedy="Nothing was kept; start again to score the scene.")


def _score_pieces(scene: Scene, options: QuadtreeOptions, progress: Progress, cancel: Cancel) -> SceneQuadtree:
    m, top_size = options.min_size, options.max_size
    scorer = _blur_scorer(scene, options)
    margin = top_size // m if scorer is not None else 0
    sizes = patch_sizes(m, top_size)[:0:-1]
    scores: dict[int, Floats] = {
        size: np.full((-(-scene.height // size), -(-scene.width // size)), np.inf, np.float32) for size in sizes
    }
    occupied = np.zeros((-(-scene.height // m), -(-scene.width // m)), np.bool_)
    edge = max(top_size, _PIECE_PX // top_size * top_size)
    for piece in pieces(scene, (1,) if scorer is None else scorer.bands, edge, margin):
        check_cancel(cancel)
        inner = piece.valid[margin : margin + edge, margin : margin + edge]
        if inner.any():
            cells = np.asarray(inner.reshape(edge // m, m, edge // m, m).any(axis=(1, 3)))
            _place(occupied, cells, piece, m)
            if scorer is not None:
                for size, found in scorer.score(piece, m, top_size, margin).items():
                    _place(scores[size], found, piece, size)
        progress(piece.share)
    if scorer is None:
        chance = Random(options.seed)
        everywhere = torch.zeros(1, 1, 1, 1).expand(1, 1, scene.height, scene.width)
        scores = {size: found[0].numpy() for size, found in chance(everywhere, m, top_size).items()}
    name = Random(options.seed).name if scorer is None else scorer.name
    return SceneQuadtree(scene.grid, m, top_size, scores, occupied, name, score_facts(scene, options))


def _place(target: npt.NDArray[Any], values: npt.NDArray[Any], piece: Piece, size: int) -> None:
    """Put what a piece found into its place, without what lies beyond the scene."""
    row, col = piece.top // size, piece.left // size
    place = target[row : row + values.shape[0], col : col + values.shape[1]]
    place[...] = values[: place.shape[0], : place.shape[1]]


def _blur_scorer(scene: Scene, options: QuadtreeOptions) -> BlurScorer | None:
    """What looks at pixels; None for chance, which does not."""
    if options.scorer == "random":
        return None
    if options.scorer == "bands":
        found = _statistics(scene)
        every = tuple(range(1, len(scene.bands) + 1))
        return BlurScorer(BandBlur().name, every, found.centre.numpy(), found.spread.numpy(), -BAND_CLIP, BAND_CLIP)
    if options.scorer != "blur":
        raise OptionError(f"there is no scorer {options.scorer!r}")
    bands = tuple(dict.fromkeys(scene.rgb_indices()))
    low, high = np.zeros(len(bands)), np.full(len(bands), 255.0)
    if scene.dtype != "uint8":
        stretch = percentile_stretch(scene, bands)
        low, high = np.array(stretch.low), np.array(stretch.high)
    return BlurScorer(PixelBlur(antialias=True).name, bands, low, high - low, 0.0, 1.0)


def _statistics(scene: Scene) -> BandStatistics:
    """Of a sample of the whole scene, so that every piece is standardised alike."""
    factor = max(1.0, max(scene.width, scene.height) / _SAMPLE_PX)
    shape = max(1, round(scene.height / factor)), max(1, round(scene.width / factor))
    sample = scene.read(out_shape=shape, resampling="nearest")
    valid = sample.valid
    if sample.data.dtype.kind == "f":
        valid = valid & np.isfinite(sample.data).all(axis=0)
    return BandStatistics.of(torch.from_numpy(sample.data[:, valid].astype(np.float64)))
