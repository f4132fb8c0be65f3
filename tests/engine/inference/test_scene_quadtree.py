"""Quadtrees of scenes: seamless scores, one budget, gaps, the same patches as the tokenizer's, files, networks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import AnalysisError, CancelledError, OptionError, SceneError
from engine.inference.quadtree import (
    QuadtreeOptions,
    SceneQuadtree,
    open_quadtree,
    save_quadtree,
    scenes,
    score_facts,
    score_scene,
)
from engine.inference.quadtree.file import same_scores
from engine.inference.quadtree.tree import from_importance
from engine.models import create
from engine.models.card import CardClass, ModelCard, Scaling
from engine.models.checkpoint import save_checkpoint
from engine.scene import Scene
from engine.scene.grid import Grid
from engine.tokenizers.quadtree import BandBlur, Layout, PixelBlur, Random, run
from engine.tokenizers.quadtree.shufflenet import ShuffleNetFeatures

ROOT = Path(__file__).parents[3]
PLACE = Affine(4, 0, 500_000, 0, -4, 5_300_000)


def write(path, data, **profile):
    options = {"driver": "GTiff", "count": len(data), "height": data.shape[1], "width": data.shape[2]}
    options |= {"dtype": data.dtype, "crs": "EPSG:32632", "transform": PLACE} | profile
    with rasterio.open(path, "w", **options) as file:
        file.write(data)
    return path


def picture(bands=3, rows=150, cols=210, seed=0):
    """A smooth half and a busy half, uint8 from 1 up."""
    rng = np.random.default_rng(seed)
    data = np.full((bands, rows, cols), 90.0) + np.linspace(0, 20, cols)
    data[:, :, cols // 2 :] += rng.normal(0, 30, (bands, rows, cols - cols // 2))
    return np.clip(data, 1, 255).astype(np.uint8)


def tree_of(rows, cols, min_size, max_size, seed, *, ties=False, share=1.0):
    rng = np.random.default_rng(seed)
    layout = Layout(rows, cols, min_size, max_size)
    scores = {
        size: (rng.integers(-1, 2, grid) if ties else rng.normal(size=grid)).astype(np.float32)
        for size, grid in zip(layout.splittable_sizes, layout.score_grids, strict=False)
    }
    occupied = rng.random(layout.score_grids[-1]) < share
    occupied.flat[0] = True
    return layout, SceneQuadtree(Grid(cols, rows, PLACE, None), min_size, max_size, scores, occupied, "test")


@st.composite
def trees(draw, share=1.0):
    min_size = draw(st.sampled_from([1, 3, 4]))
    max_size = min_size << draw(st.integers(0, 4))
    rows, cols = (draw(st.integers(1, 4 * max_size)) for _ in range(2))
    return tree_of(rows, cols, min_size, max_size, draw(st.integers(0, 99)), ties=draw(st.booleans()), share=share)


@settings(max_examples=60)
@given(case=trees(), part=st.floats(0, 1))
def test_selecting_is_what_the_runners_do(case, part):
    layout, tree = case
    tokens = round(tree.min_tokens + part * (tree.max_tokens - tree.min_tokens))
    found = tree.select(tokens)
    cuts = int((tree._counts <= tokens).sum()) - 1  # those that add nothing, since all else lies outside, included
    images = torch.zeros(1, 1, 1, 1).expand(1, 1, layout.height, layout.width)
    scores = {size: torch.from_numpy(values)[None] for size, values in tree.scores.items()}
    boxes = run(images, scores, layout.min_patches + 3 * cuts, layout.min_size, layout.max_size)[0].numpy()
    inside = (boxes[:, 0] < layout.width) & (boxes[:, 1] < layout.height)
    assert np.array_equal(found.boxes, boxes[inside])


@settings(max_examples=60)
@given(case=trees(share=0.4), low=st.floats(0, 1), more=st.integers(0, 40))
def test_patches_cover_what_holds_data_once_and_more_tokens_only_cut_further(case, low, more):
    layout, tree = case
    first = round(tree.min_tokens + low * (tree.max_tokens - tree.min_tokens))
    one = tree.select(first)
    other = tree.select(min(first + more, tree.max_tokens))
    for found, asked in ((one, first), (other, min(first + more, tree.max_tokens))):
        assert asked - 2 <= len(found) <= asked
        assert len(found) == len(np.unique(found.boxes, axis=0))
        rows, cols = tree.occupied.shape
        covered = np.zeros((rows, cols), int)
        for number, (left, top, size) in enumerate(found.boxes // layout.min_size):
            place = np.s_[top : top + size, left : left + size]
            covered[place] += 1
            assert tree.occupied[place].any()
            assert (found.index[place] == number).all()
        assert (covered[tree.occupied] == 1).all()
        assert covered.max() == 1
        assert found.patch_at(-1, 0) is None
        assert found.patch_at(layout.width + 5 * layout.min_size, 0) is None
    both = other.index >= 0
    assert (one.boxes[one.index[both], 2] >= other.boxes[other.index[both], 2]).all()
    order = [(size, top, left) for left, top, size in other.boxes.tolist()]
    assert order == sorted(order)


def test_scores_and_levels_of_patches():
    _, tree = tree_of(32, 32, 4, 16, 3)
    found = tree.select(tree.max_tokens)
    assert set(found.levels.tolist()) == {0}
    left, top = found.boxes[5, :2]
    assert found.scores[5] == tree.scores[8][top // 8, left // 8]
    roots = tree.select(tree.min_tokens)
    assert np.array_equal(roots.scores.reshape(2, 2), tree.scores[16])
    assert roots.levels.tolist() == [2] * 4
    single = tree_of(8, 8, 4, 4, 0)[1].select(4)
    assert np.isnan(single.scores).all()


def test_a_budget_that_cannot_be_met_is_refused():
    _, tree = tree_of(32, 32, 4, 16, 3)
    with pytest.raises(OptionError, match="Use 4, or a number between"):
        tree.select(3)
    with pytest.raises(OptionError, match="Use 64, or a number between"):
        tree.select(65)
    with pytest.raises(OptionError, match="cells and not"):
        SceneQuadtree(tree.grid, 4, 16, tree.scores, tree.occupied[1:], "test")


@pytest.mark.parametrize("scorer", ["blur", "bands"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_scores_do_not_depend_on_where_pieces_end(tmp_path, monkeypatch, scorer, dtype):
    data = picture(4 if scorer == "bands" else 3).astype(dtype)
    if dtype != "uint8":
        data = (data * 37).astype(dtype)
    data[:, 40:70, 20:90] = 0
    path = write(tmp_path / "scene.tif", data, nodata=0)
    options = QuadtreeOptions(scorer=scorer, min_size=4, max_size=32)
    with Scene.open(path) as scene:
        whole = score_scene(scene, options)
        for edge, together in ((32, 1), (64, 1 << 26)):
            monkeypatch.setattr(scenes, "_PIECE_PX", edge)
            monkeypatch.setattr("engine.inference.quadtree.pieces._PIECE_BYTES", together)
            parts = score_scene(scene, options)
            for size, values in whole.scores.items():
                assert np.array_equal(parts.scores[size], values)
            assert np.array_equal(parts.occupied, whole.occupied)


def test_scores_are_those_of_the_scene_as_one_image(tmp_path):
    data = picture()
    with Scene.open(write(tmp_path / "scene.tif", data)) as scene:
        tree = score_scene(scene, QuadtreeOptions(min_size=4, max_size=32))
        chance = score_scene(scene, QuadtreeOptions(scorer="random", seed=4, min_size=4, max_size=32))
    images = torch.from_numpy(data[None].astype(np.float32) / 255)
    expected = PixelBlur(antialias=True)(images, 4, 32)
    for size, values in tree.scores.items():
        np.testing.assert_allclose(values, expected[size][0].numpy(), rtol=1e-4, atol=1e-6)
    assert tree.scorer == "pixel blur, antialiased"
    expected = Random(4)(images, 4, 32)
    assert all(np.array_equal(chance.scores[size], expected[size][0].numpy()) for size in (8, 16, 32))
    with Scene.open(tmp_path / "scene.tif") as scene:
        bands = score_scene(scene, QuadtreeOptions(scorer="bands", min_size=4, max_size=32))
    found = BandBlur()(images * 255, 4, 32)[16][0].numpy()
    np.testing.assert_allclose(bands.scores[16], found, rtol=0.1, atol=0.05)


def test_busy_ground_gets_small_patches_and_gaps_none(tmp_path):
    data = picture()
    data[:, :60, :60] = 0
    with Scene.open(write(tmp_path / "scene.tif", data, nodata=0)) as scene:
        tree = score_scene(scene, QuadtreeOptions(min_size=4, max_size=32))
        found = tree.select(300)
    small = found.boxes[found.levels == 0]
    assert (small[:, 0] >= 96).mean() > 0.95
    assert found.patch_at(10, 10) is None
    assert found.patch_at(100, 100) is not None
    assert not ((found.boxes[:, 0] + found.boxes[:, 2] <= 56) & (found.boxes[:, 1] + found.boxes[:, 2] <= 56)).any()


def test_scoring_tells_how_far_it_is_and_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "_PIECE_PX", 64)
    seen = []
    with Scene.open(write(tmp_path / "scene.tif", picture())) as scene:
        score_scene(scene, QuadtreeOptions(min_size=8, max_size=64), progress=seen.append)
        assert seen == sorted(seen)
        assert seen[-1] == 1
        assert len(seen) == 12
        with pytest.raises(CancelledError):
            score_scene(scene, QuadtreeOptions(min_size=8, max_size=64), cancel=lambda: len(seen) > 5)


def test_scenes_that_cannot_be_scored(tmp_path):
    empty = write(tmp_path / "empty.tif", np.zeros((3, 40, 40), np.uint8), nodata=0)
    with Scene.open(empty) as scene, pytest.raises(SceneError, match="no valid pixel"):
        score_scene(scene, QuadtreeOptions(min_size=4, max_size=16))
    waves = write(tmp_path / "waves.tif", np.ones((1, 9, 9), np.complex64))
    with Scene.open(waves) as scene, pytest.raises(SceneError, match="complex"):
        score_scene(scene)
    with Scene.open(write(tmp_path / "scene.tif", picture())) as scene:
        with pytest.raises(OptionError, match="use 32 or 64"):
            score_scene(scene, QuadtreeOptions(min_size=16, max_size=48))
        with pytest.raises(OptionError, match="needs a model"):
            score_scene(scene, QuadtreeOptions(scorer="gradcam"))
        with pytest.raises(OptionError, match="needs weights or a model"):
            score_scene(scene, QuadtreeOptions(scorer="features"))


def test_a_saved_tree_selects_the_same(tmp_path):
    data = picture()
    data[:, :40, :40] = 0
    with Scene.open(write(tmp_path / "scene.tif", data, nodata=0)) as scene:
        options = QuadtreeOptions(min_size=4, max_size=32)
        tree = score_scene(scene, options)
        path = save_quadtree(tree, tmp_path / "made" / "scene.quadtree")
        again = open_quadtree(path)
        assert same_scores(again, score_facts(scene, options))
        assert not same_scores(again, score_facts(scene, QuadtreeOptions(min_size=4, max_size=16)))
    assert again.grid == tree.grid
    assert again.scorer == tree.scorer
    for tokens in (tree.min_tokens, 123, tree.max_tokens):
        one, other = tree.select(tokens), again.select(tokens)
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.scores, other.scores)
    damaged = bytearray(path.read_bytes())
    damaged[-9] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(AnalysisError, match="damaged"):
        open_quadtree(path)
    with pytest.raises(AnalysisError, match="cannot be opened"):
        open_quadtree(tmp_path / "missing.quadtree")
    (tmp_path / "other").write_text("something else")
    with pytest.raises(AnalysisError, match="no quadtree"):
        open_quadtree(tmp_path / "other")


def test_opening_and_selecting_imports_no_torch(tmp_path):
    path = save_quadtree(tree_of(64, 64, 4, 16, 0)[1], tmp_path / "tree")
    code = (
        "import sys, engine.inference.quadtree as q\n"
        f"print(len(q.open_quadtree({str(path)!r}).select(40)), 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["40", "False"]


def test_importance_is_averaged_over_cells_that_hold_data():
    importance = np.arange(15.0).reshape(3, 5)
    occupied = np.ones((3, 5), np.bool_)
    occupied[0, 0] = False
    tree = from_importance(Grid(40, 24, PLACE, None), [importance], occupied, 8, 32, "drawn")
    assert tree.scores[16][0, 0] == pytest.approx(-(1 + 5 + 6) / 3)
    assert tree.scores[16][1, 2] == pytest.approx(-14)
    assert tree.scores[32][0, 0] == pytest.approx(-(1 + 2 + 3 + 5 + 6 + 7 + 8 + 10 + 11 + 12 + 13) / 11)
    with pytest.raises(OptionError, match="not one, nor one for each of 2"):
        from_importance(tree.grid, [importance] * 3, occupied, 8, 32, "drawn")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    torch.manual_seed(0)
    config = {"image_size": 64, "embed_dim": 32, "depth": 4, "num_heads": 2, "patch_size": 8, "head_dim": 16,
              "dense_channels": (8, 8, 8, 8)}  # fmt: skip
    model = create("patch_segmenter", num_classes=3, **config)
    card = ModelCard(
        name="tiny-patches", title="Tiny", architecture="patch_segmenter", config={"num_classes": 3, **config},
        task="segmentation", classes=tuple(CardClass(name=n, color="#102030") for n in "abc"),
        bands=("red", "green", "blue"),
        scaling=Scaling(divisor=255.0, mean=(0.4,) * 3, std=(0.2,) * 3, low=(10.0,) * 3, high=(240.0,) * 3),
        window_px=64, overlap_px=16, token_count=64, data="none", metrics={}, licence="Apache-2.0", source="tests",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("models") / "tiny-patches.safetensors"
    save_checkpoint(path, model, card)
    return path


@pytest.mark.parametrize("scorer", ["gradcam", "features"])
def test_networks_score_scenes_in_windows(tmp_path, model_path, scorer):
    data = picture()
    data[:, :60, :60] = 0
    options = QuadtreeOptions(scorer=scorer, model=str(model_path), min_size=4, max_size=16, class_index=1)
    seen = []
    with Scene.open(write(tmp_path / "scene.tif", data, nodata=0)) as scene:
        tree = score_scene(scene, options, progress=seen.append)
        assert seen[-1] == 1
        with pytest.raises(CancelledError):
            score_scene(scene, options, cancel=lambda: True)
        with pytest.raises(OptionError, match="no layer 'nowhere'"):
            score_scene(scene, options.model_copy(update={"layer": "nowhere"}))
    assert "tiny-patches" in tree.scorer
    found = tree.select(200)
    assert 198 <= len(found) <= 200
    assert found.patch_at(10, 10) is None
    assert len({values.std() > 0 for values in tree.scores.values()}) == 1


def test_shufflenet_scores_scenes(tmp_path):
    torch.manual_seed(0)
    torch.save(ShuffleNetFeatures().state_dict(), tmp_path / "weights.pth")
    options = QuadtreeOptions(
        scorer="features", weights=str(tmp_path / "weights.pth"), min_size=16, max_size=64, window_px=128
    )
    with Scene.open(write(tmp_path / "scene.tif", picture())) as scene:
        tree = score_scene(scene, options)
    assert tree.scorer == "features of shufflenet_v2_x0_5"
    found = tree.select(60)
    assert (found.boxes[found.levels == 0][:, 0] >= 64).mean() > 0.9
