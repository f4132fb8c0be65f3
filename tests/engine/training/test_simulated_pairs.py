"""Simulated pairs of the task ``change``: what differs, what counts as a change, what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from test_change_training import recipe, save

from engine.errors import TrainingError
from engine.training.change.pairs import load_split
from engine.training.change.photographs import Grounds, Town
from engine.training.change.recipe import SimulatedSource
from engine.training.change.simulated import SimulatedPairs, simulate

STILL = {"shift_px": 0, "turn_deg": 0, "light": 0, "tint": 0, "gamma": 0, "uneven": 0, "season": 0, "haze": 0,
         "blur": 0, "noise": 0, "compression": 0}  # fmt: skip


def grounds(bare: bool = False) -> Grounds:
    made = [
        ndimage.gaussian_filter(np.random.default_rng(s).uniform(0, 255, (3, 160, 160)), (0, 4, 4)) for s in range(4)
    ]
    images = [((image - image.min()) / np.ptp(image) * 255).astype(np.uint8) for image in made]
    return Grounds(images, images[:2] if bare else [], [])


def how(**changes) -> SimulatedSource:
    fields = {
        "kind": "simulated",
        "folders": ("x",),
        "pairs": 8,
        "size_px": 96,
        "area_px": (20, 60),
        "house_px": (8, 30),
    }
    return SimulatedSource.model_validate({**fields, **changes})


@pytest.mark.parametrize("seed", range(6))
def test_outside_the_mask_nothing_changes_but_what_a_camera_does(seed):
    before, after, changed = simulate(np.random.default_rng(seed), grounds(), how(**STILL, houses=0.0, unchanged=0.0))
    far = ~ndimage.binary_dilation(changed, iterations=7)  # soft borders reach a few pixels out
    assert changed.any()
    assert np.array_equal(before[:, far], after[:, far])
    inner = ndimage.binary_erosion(changed, iterations=7)
    if inner.any():
        assert np.abs(before[:, inner].astype(int) - after[:, inner]).mean() > 10


def test_unchanged_pairs_differ_by_light_and_registration_alone():
    before, after, changed = simulate(np.random.default_rng(0), grounds(), how(unchanged=1.0))
    assert not changed.any()
    assert not np.array_equal(before, after)
    before, after, changed = simulate(np.random.default_rng(0), grounds(), how(unchanged=1.0, **STILL))
    assert np.array_equal(before, after)


def test_buildings_come_and_go_on_either_date():
    """On plain ground a building shows; over many pairs the earlier date has it about as often as the later one."""
    flat = Grounds([np.full((3, 128, 128), 120, np.uint8)], [], [])
    source = how(**STILL, houses=1.0, unchanged=0.0, zoom=(1.0, 1.0))
    earlier = 0
    for seed in range(12):
        before, after, changed = simulate(np.random.default_rng(seed), flat, source)
        touched = [bool((image != 120).any()) for image in (before, after)]
        assert sum(touched) == changed.any()
        earlier += touched[0]
    assert 2 <= earlier <= 10


def test_where_bare_ground_is_known_other_ground_is_no_change():
    source = how(**STILL, houses=0.0, unchanged=0.0, bare=("y",), bare_share=1.0, changes=(3, 3))
    found = [simulate(np.random.default_rng(seed), grounds(bare=True), source) for seed in range(6)]
    assert not any(changed.any() for _, _, changed in found)
    assert any(not np.array_equal(before, after) for before, after, _ in found)


def town(size: int = 160) -> Town:
    """White buildings on black ground; of the lower half nothing is known."""
    buildings, known = np.zeros((2, size, size), bool)
    buildings[20:60, 30:110], known[: size // 2] = True, True
    return Town(np.repeat(buildings[None], 3, axis=0).astype(np.uint8) * 255, buildings, known)


def test_a_town_comes_up_on_bare_ground_and_only_its_buildings_are_changes():
    flat = np.full((3, 160, 160), 120, np.uint8)
    source = how(
        **STILL, bare=("y",), bare_share=1.0, towns=[{"images": "t", "masks": "m", "buildings": [1]}], towns_share=1.0
    )
    seen = 0
    for seed in range(12):
        before, after, changed = simulate(np.random.default_rng(seed), Grounds([flat], [flat], [town()]), source)
        bare, built = (before, after) if (before == 120).all() else (after, before)
        assert (bare == 120).all()
        inner = ndimage.binary_erosion(changed, iterations=3)
        assert (built[:, inner] > 230).all()
        assert not ((built[0] > 150) & ~ndimage.binary_dilation(changed, iterations=3)).any()
        seen += inner.any()
    assert seen >= 6


def test_towns_are_read_with_their_masks_and_split_with_the_rest(tmp_path):
    for number in range(12):
        for folder, value in (("photos", number), ("towns", 100 + number)):
            save(tmp_path / folder / f"{number}.png", np.full((3, 80, 80), value, np.uint8))
        codes = np.zeros((1, 80, 80), np.uint8)
        codes[:, :10], codes[:, 70:] = 3, 255
        save(tmp_path / "codes" / f"{number}.png", codes)
    source = {"kind": "simulated", "folders": ["photos"], "bare": ["photos"], "size_px": 64, "pairs": 2,
              "split": {"rule": "md5", "validation": [0, 1, 2, 3, 4]}, "validation": 2,
              "towns": [{"images": "towns", "masks": "codes", "buildings": [3]}]}  # fmt: skip
    parts = [load_split(recipe(data=[source]), tmp_path, split)[0]._grounds.towns for split in ("train", "validation")]
    values = [{int(found.image[0, 0, 0]) for found in part} for part in parts]
    assert values[0] | values[1] == set(range(100, 112))
    assert not values[0] & values[1]
    assert all(found.buildings.sum() == found.buildings[:10].sum() == 800 for found in parts[0])
    assert all((~found.known).sum() == 800 for found in parts[0])
    mask = tmp_path / "codes" / f"{min(values[0]) - 100}.png"
    mask.unlink()
    with pytest.raises(TrainingError, match=f"{mask.stem} lacks its mask"):
        load_split(recipe(data=[source]), tmp_path, "train")
    save(mask, np.zeros((1, 40, 80), np.uint8))
    with pytest.raises(TrainingError, match=f"{mask.stem} is 80 x 80 pixels and its mask 80 x 40"):
        load_split(recipe(data=[source]), tmp_path, "train")
    with pytest.raises(ValueError, match="without buildings as `bare`"):
        recipe(data=[{**source, "bare": []}])


def test_equal_seeds_give_equal_pairs():
    pairs = SimulatedPairs(grounds(), how(), 3)
    one, two, other = pairs.read(1), pairs.read(1), pairs.read(2)
    assert np.array_equal(one.before, two.before)
    assert np.array_equal(one.after, two.after)
    assert not np.array_equal(one.before, other.before)
    drawn = [pairs.draw(0, np.random.default_rng(seed)) for seed in (1, 2)]
    assert not np.array_equal(drawn[0].before, drawn[1].before)


def test_simulated_pairs_split_their_images(tmp_path):
    for number in range(30):
        save(tmp_path / "photos" / f"{number}.png", np.full((3, 100, 100), number, np.uint8))
    source = {"kind": "simulated", "folders": ["photos"], "split": {"rule": "md5", "validation": [0, 1, 2]},
              "pairs": 5, "validation": 2, "size_px": 64}  # fmt: skip
    one = recipe(data=[source])
    sets = [load_split(one, tmp_path, split)[0] for split in ("train", "validation")]
    assert [len(part) for part in sets] == [5, 2]
    values = [{int(image[0, 0, 0]) for image in part._grounds.all} for part in sets]
    assert values[0] | values[1] == set(range(30))
    assert not values[0] & values[1]
