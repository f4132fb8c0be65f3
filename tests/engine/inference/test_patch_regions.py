"""Analyses whose regions are the patches of a quadtree: what they cover, their attributes, resume, refusals."""

import json

import numpy as np
import pytest
import shapely
import torch
from inference_fakes import PointwiseModel, loaded, make_card, smooth_noise, tokens_of, write_scene

from engine.errors import CancelledError, OptionError
from engine.inference import AnalysisOptions, analyse, open_analysis
from engine.inference.events import Finished, StageChanged, Started, StripWritten
from engine.inference.quadtree import PatchOptions, QuadtreeOptions, score_scene
from engine.inference.quadtree.regions import FILE_NAME
from engine.models import create
from engine.regions.runs import connected_groups
from engine.scene import Scene

PATCHES = PatchOptions(min_size=4, max_size=32, tokens=300)
OPTIONS = AnalysisOptions(device="cpu", batch=3, quadtree=PATCHES)
ROI = {"geometry": {"type": "Polygon", "coordinates": [[[500_100, 5_299_950], [500_500, 5_299_900],
       [500_450, 5_299_300], [500_080, 5_299_400], [500_100, 5_299_950]]]}, "crs": "EPSG:32632"}  # fmt: skip


def model():
    return loaded(PointwiseModel(), make_card())


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory):
    data = smooth_noise((4, 260, 170), seed=3)
    data[:, 60:90, 20:140] = 0
    data[:, 200:202] = 0  # cuts patches apart
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", data, nodata=0)


@pytest.fixture(scope="module")
def whole(scene_path, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    run(scene_path, out)
    return out


def run(scene_path, out, options=OPTIONS, made=None, **more):
    with Scene.open(scene_path) as scene:
        return list(analyse(scene, made or model(), out, options, **more))


def selection(scene_path, scoring=PATCHES, tokens=300):
    with Scene.open(scene_path) as scene:
        return score_scene(scene, scoring.scoring("cpu")).select(tokens)


def pixels_of(found, shape):
    """Number of the patch of each pixel."""
    rows, cols = np.indices(shape) // found.min_size
    return found.index[rows, cols]


def test_regions_are_the_patches_where_there_is_data(scene_path, whole):
    analysis, found = open_analysis(whole), selection(scene_path)
    classes, regions = analysis.read("classes"), analysis.read("regions")
    kept = classes != 255
    assert np.array_equal(regions > 0, kept)
    patch = pixels_of(found, classes.shape)
    pairs = np.unique(np.stack((regions[kept], patch[kept])), axis=1)
    assert pairs.shape[1] == regions.max()  # no region holds two patches
    assert set(pairs[1]) == set(range(len(found)))  # and none is lost
    same = (regions[:, 1:] != regions[:, :-1]) & (patch[:, 1:] == patch[:, :-1]) & kept[:, 1:] & kept[:, :-1]
    assert not same.any()  # what touches inside a patch is one
    table = analysis.regions()
    assert len(table) == regions.max() == analysis.info.regions
    assert len(table) > 300  # the gap of two rows cuts some in two
    assert shapely.coverage_is_valid(table.geometry.to_numpy())
    assert table.geometry.is_valid.all()
    assert table.geometry.area.sum() == pytest.approx(kept.sum() * 16)
    assert table["area_m2"].sum() == pytest.approx(kept.sum() * 16, rel=2e-3)


def test_attributes_are_those_of_the_pixels(scene_path, whole):
    analysis = open_analysis(whole)
    classes, confidence, regions = (analysis.read(name) for name in ("classes", "confidence", "regions"))
    table = analysis.regions()
    with Scene.open(scene_path) as scene:
        image = scene.read().data
        seen = model().normalise(torch.from_numpy(image[None, :3].astype(np.float32)))
    tokens = tokens_of(seen).assignment[0].argmax(dim=0).numpy()
    for number in (1, 17, 150, len(table)):
        inside, row = regions == number, table.loc[number]
        counts = np.bincount(classes[inside], minlength=3)
        assert row["class_code"] == counts.argmax()
        assert row["class_share"] == pytest.approx(counts.max() / inside.sum())
        assert row["pixels"] == inside.sum()
        assert row["confidence"] == pytest.approx(confidence[inside].mean() / 100)
        assert row["mean_red"] == pytest.approx(image[0][inside].mean())
        assert row["std_nir"] == pytest.approx(image[3][inside].std(), abs=1e-6)
        claimed = np.bincount(tokens[inside], minlength=4)
        assert claimed[row["token"]] >= 0.9 * claimed.max()
        assert row["windows"] >= 1
        assert analysis.region_table.features(number).shape == (3,)
        assert row.geometry.area == pytest.approx(inside.sum() * 16)
        assert len(analysis.region(number).rings) >= 1


def test_the_options_are_written_down(whole):
    options = json.loads((whole / "analysis.json").read_text())["options"]["quadtree"]
    assert (options["scorer"], options["tokens"], options["min_size"]) == ("blur", 300, 4)
    assert open_analysis(whole).info.options == OPTIONS


def test_a_region_of_interest_has_the_whole_budget(scene_path, tmp_path):
    run(scene_path, tmp_path / "out", OPTIONS.model_copy(update={"roi": ROI}))
    analysis = open_analysis(tmp_path / "out")
    regions, classes = analysis.read("regions"), analysis.read("classes")
    assert np.array_equal(regions > 0, classes != 255)
    assert 0 < (classes != 255).sum() < classes.size / 2
    assert 270 <= analysis.info.regions <= 330  # cells of which only gaps lie inside have none


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.mark.parametrize("stop", ["quadtree", 1, 4, "regions"])
def test_a_run_that_was_stopped_ends_in_the_same_bytes(scene_path, whole, tmp_path, stop):
    strips = 0
    with Scene.open(scene_path) as scene:
        for event in analyse(scene, model(), tmp_path / "out", OPTIONS):
            strips += isinstance(event, StripWritten)
            if stop == strips or (isinstance(event, StageChanged) and event.stage == stop):
                break
    kept = tmp_path / "out" / ".partial" / FILE_NAME
    if stop == 4:
        kept.write_bytes(kept.read_bytes()[:-5])  # damaged: it is made anew
    events = run(scene_path, tmp_path / "out")
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert contents(tmp_path / "out") == contents(whole)
    if stop == 1:
        assert events[0].windows_done > 0
        assert not any(isinstance(event, StageChanged) and event.stage == "quadtree" for event in events)


def test_scoring_can_be_cancelled_and_other_options_are_another_run(scene_path, whole, tmp_path):
    with pytest.raises(CancelledError):
        run(scene_path, tmp_path / "out", cancel=lambda: True)
    assert not open_analysis(tmp_path / "out").complete
    other = OPTIONS.model_copy(update={"quadtree": PATCHES.model_copy(update={"tokens": 200})})
    with pytest.raises(Exception, match=r"options\.quadtree\.tokens: 300 there, 200 here"):
        run(scene_path, whole, other)


def test_without_a_number_the_scene_decides(scene_path, tmp_path):
    options = OPTIONS.model_copy(update={"quadtree": PatchOptions(min_size=4, max_size=32)})
    run(scene_path, tmp_path / "out", options)
    with Scene.open(scene_path) as scene:
        tree = score_scene(scene, QuadtreeOptions(min_size=4, max_size=32))
    assert tree.default_tokens == tree.max_tokens // 6
    analysis = open_analysis(tmp_path / "out")
    patch = pixels_of(tree.select(tree.default_tokens), (260, 170))
    assert len(np.unique(patch[analysis.read("regions") > 0])) == len(tree.select(tree.default_tokens))


def test_small_pieces_join_a_neighbour_where_that_is_asked_for(scene_path, whole, tmp_path):
    run(scene_path, tmp_path / "out", OPTIONS.model_copy(update={"min_region_m2": 60 * 16.0}))
    table = open_analysis(tmp_path / "out").regions()
    assert table["pixels"].min() >= 58
    assert len(table) < open_analysis(whole).info.regions


def test_what_cannot_work_is_said(scene_path, tmp_path):
    many = OPTIONS.model_copy(update={"quadtree": PATCHES.model_copy(update={"tokens": 10**6})})
    with pytest.raises(OptionError, match=r"cannot be met.*Use"):
        run(scene_path, tmp_path / "many", many)
    odd = OPTIONS.model_copy(update={"quadtree": PatchOptions(min_size=5, max_size=32)})
    with pytest.raises(OptionError, match="use 20 or 40"):
        run(scene_path, tmp_path / "odd", odd)
    for task in ("detection", "classification"):
        card = make_card(task=task)
        with pytest.raises(OptionError, match="draws no regions"):
            run(scene_path, tmp_path / task, made=loaded(PointwiseModel(), card))


@pytest.mark.parametrize("scorer", ["gradcam", "features", "random", "bands"])
def test_every_scorer_cuts_and_networks_are_the_run_s_own(scene_path, tmp_path, scorer):
    torch.manual_seed(0)
    config = {"image_size": 64, "embed_dim": 32, "depth": 4, "num_heads": 2, "patch_size": 8, "head_dim": 16,
              "dense_channels": (8, 8, 8, 8)}  # fmt: skip
    made = loaded(create("patch_segmenter", num_classes=3, **config), make_card(window=64, overlap=16))
    quadtree = PatchOptions(scorer=scorer, min_size=8, max_size=32, tokens=120)
    run(scene_path, tmp_path / "out", OPTIONS.model_copy(update={"quadtree": quadtree}), made)
    analysis = open_analysis(tmp_path / "out")
    assert analysis.info.regions >= 117
    assert all(parameter.requires_grad for parameter in made.module.parameters())


def test_pieces_of_a_patch_are_counted_as_regions_are(scene_path, whole):
    """Regions are the connected pieces of patches, counted here by pixels."""
    classes = open_analysis(whole).read("classes")
    patch = np.where(classes != 255, pixels_of(selection(scene_path), classes.shape), -1)
    place = np.arange(patch.size).reshape(patch.shape)
    right, down = patch[:, 1:] == patch[:, :-1], patch[1:] == patch[:-1]
    first = np.concatenate((place[:, :-1][right], place[:-1][down]))
    second = np.concatenate((place[:, 1:][right], place[1:][down]))
    _, group = connected_groups(patch.size, first, second)
    assert len(np.unique(group[patch.reshape(-1) >= 0])) == open_analysis(whole).info.regions
