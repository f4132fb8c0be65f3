import pytest
from scene_rasters import numbers, write

from engine.errors import BandError, BandWarning
from engine.scene import Scene
from engine.scene.bands import BandFacts, describe_bands, rgb_bands, sensor_band


def roles_of(*facts, roles=None):
    bands, warnings = describe_bands(facts, roles)
    return [band.role for band in bands], warnings


def described(*names):
    return [BandFacts(description=name) for name in names]


@pytest.mark.parametrize(
    ("description", "role"),
    [
        ("Red", "red"), ("B4 (red)", "red"), ("near infrared", "nir"), ("NIR", "nir"), ("nir08", "nir"),
        ("Red Edge 1", "red_edge"), ("SWIR 2", "swir2"), ("swir16", "swir1"), ("Panchromatic", "pan"),
        ("coastal aerosol", "coastal"), ("thermal", "thermal"), ("B8A", "nir"), ("B08", "nir"), ("B12", None),
        ("Gamma0_VV", None), ("infrared", "nir"), ("blue_band", "blue"), ("bare soil", None),
    ],
)  # fmt: skip
def test_descriptions_tell_roles(description, role):
    assert roles_of(*described(description, "x"))[0][0] == role


def test_sentinel_numbers_without_zeros_are_known_by_their_b8a():
    roles, warnings = roles_of(*described("B1", "B2", "B3", "B4", "B8", "B8A", "B11", "B12"))
    assert roles == ["coastal", "blue", "green", "red", "nir", None, "swir1", "swir2"]
    assert not warnings


def test_colour_interpretation_tells_roles_and_order():
    roles, warnings = roles_of(*(BandFacts(color=c) for c in ("blue", "green", "red")))
    assert roles == ["blue", "green", "red"]
    assert not warnings


@pytest.mark.parametrize(("unit", "factor"), [("Nanometers", 1), ("Micrometers", 1000)])
def test_wavelengths_give_the_nearest_band_each_role(unit, factor):
    nanometres = (443, 490, 560, 645, 662, 842, 2200)
    facts = [BandFacts(tags={"wavelength": str(nm / factor), "wavelength_units": unit}) for nm in nanometres]
    bands, _ = describe_bands(facts)
    assert [b.role for b in bands] == ["coastal", "blue", "green", None, "red", "nir", "swir2"]
    assert bands[1].wavelength_nm == pytest.approx(490)


def test_one_role_goes_to_one_band():
    assert roles_of(*described("nir", "nir 2", "red"))[0] == ["nir", None, "red"]


def test_names_are_unique():
    names = [band.name for band in describe_bands(described("red", "red", ""))[0]]
    assert names == ["red", "red_2", "band_3"]


@pytest.mark.parametrize(("count", "roles"), [(3, ["red", "green", "blue"]), (4, ["red", "green", "blue", "nir"])])
def test_unnamed_bands_are_guessed_with_a_warning(count, roles):
    found, warnings = roles_of(*[BandFacts()] * count)
    assert found == roles
    assert [type(w) for w in warnings] == [BandWarning]
    assert [b.name for b in describe_bands([BandFacts()] * count)[0]] == [f"band_{i + 1}" for i in range(count)]


def test_five_unnamed_bands_are_not_guessed():
    bands, _ = describe_bands([BandFacts()] * 5)
    assert {b.role for b in bands} == {None}
    chosen, warning = rgb_bands(bands)
    assert chosen == (1, 2, 3)
    assert isinstance(warning, BandWarning)


def test_hands_win_over_descriptions():
    assert roles_of(*described("red", "green", "blue"), roles={"red": 3})[0] == [None, "green", "red"]


@pytest.mark.parametrize("roles", [{"red": 4}, {"red": 0}, {"ultraviolet": 1}])
def test_wrong_roles_by_hand_are_refused(roles):
    with pytest.raises(BandError):
        describe_bands(described("red", "green", "blue"), roles)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("LT52240631988227CUB02_B3", ("red", 660)), ("LC08_L1TP_123_B4", ("red", 655)), ("LC09_SR_B5", ("nir", 865)),
        ("T32UMD_20200101T101010_B08_10m", ("nir", 842)), ("S2A_B11", ("swir1", 1610)), ("scan_B3", None),
        ("LC08_L1TP_123_B10", ("thermal", 10895)), ("holiday", None),
    ],
)  # fmt: skip
def test_file_names_of_landsat_and_sentinel_tell_bands(stem, expected):
    assert sensor_band(stem) == expected


def test_scene_finds_bands_and_says_what_is_missing(tmp_path):
    with Scene.open(write(tmp_path / "a.tif", numbers(2), descriptions=("green", "nir"))) as scene:
        assert scene.band_indices(["nir", "green"]) == (2, 1)
        with pytest.raises(BandError, match=r"red.*1 green.*2 nir"):
            scene.band_indices(["red", "green"])
        assert scene.rgb_indices() == (1, 1, 1)


def test_colour_infrared_is_shown_with_a_warning(tmp_path):
    with Scene.open(write(tmp_path / "a.tif", numbers(3), descriptions=("nir", "red", "green"))) as scene:
        assert scene.rgb_indices() == (1, 2, 3)
        assert [type(w) for w in scene.warnings] == [BandWarning]


def test_scale_and_offset_are_told_and_values_stay_stored(tmp_path):
    import rasterio

    path = write(tmp_path / "a.tif", numbers(1, dtype="int16"))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.0001,), (0.5,)
    with Scene.open(path) as scene, rasterio.open(path) as file:
        assert (scene.bands[0].scale, scene.bands[0].offset) == (0.0001, 0.5)
        assert (scene.read().data == file.read()).all()
