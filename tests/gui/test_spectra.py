"""Spectra as values: what is in them, means over classes, tables."""

from __future__ import annotations

import csv
import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rs_viewer.spectra import Spectrum, as_table, class_moments, spectrum_of

CALM = SimpleNamespace(raise_if_cancelled=lambda: None)


class Table:
    """The columns of a region table."""

    def __init__(self, codes, pixels, means, stds):
        self._columns = {"class_code": codes, "pixels": pixels, "mean_red": means, "std_red": stds}

    def __len__(self):
        return len(self._columns["pixels"])

    def column(self, name):
        return np.asarray(self._columns[name])

    def region(self, number):
        return SimpleNamespace(band_names=("red",))


def moments(*columns):
    return class_moments(CALM, SimpleNamespace(region_table=Table(*columns)))


def spectrum(**changes):
    values = {
        "title": "Region 1\u202f204, forest",
        "names": ("nir", "red"),
        "wavelengths_nm": (842.0, 665.0),
        "means": (40.0, 1234.5),
        "stds": (2.5, math.nan),
        "color": "#207030",
    }
    return Spectrum(**(values | changes))


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=6)),
        min_size=1,
        max_size=12,
    )
)
def test_the_moments_of_a_class_are_those_of_all_its_pixels(regions):
    found = moments(
        [code for code, _ in regions],
        [len(values) for _, values in regions],
        [np.mean(values) for _, values in regions],
        [np.std(values) for _, values in regions],
    )
    assert set(found) == {code for code, _ in regions}
    for code, (means, stds) in found.items():
        pixels = np.concatenate([values for other, values in regions if other == code])
        assert means[0] == pytest.approx(pixels.mean(), rel=1e-6, abs=1e-6)
        assert stds[0] == pytest.approx(pixels.std(), rel=1e-5, abs=1e-4)


def test_regions_without_a_value_do_not_count_and_a_class_without_any_has_none():
    found = moments([0, 0, 2], [10, 1000, 5], [7.0, math.nan, math.nan], [1.0, math.nan, math.nan])
    assert found[0] == ((7.0,), (1.0,))
    assert math.isnan(found[2][0][0])
    assert math.isnan(found[2][1][0])


def test_no_regions_have_no_classes():
    assert moments([], [], [], []) == {}


def test_bands_go_from_short_waves_to_long_and_those_without_a_value_are_left_out():
    first, second = spectrum().bands()
    assert (first.label, first.text) == ("red, 665 nm", "1\u202f234 ± 0")
    assert (second.place, second.mean, second.std) == (842.0, 40.0, 2.5)
    plain = spectrum(wavelengths_nm=None, means=(math.nan, 3.0)).bands()
    assert [(band.place, band.label) for band in plain] == [(2.0, "red")]


def test_the_spoken_text_has_every_value_and_no_signs():
    text = spectrum().text()
    assert text.startswith("Region 1\u202f204, forest. red, 665 nm: 1\u202f234 plus or minus 0; nir")
    assert "±" not in text


def test_wavelengths_are_used_where_every_band_has_one():
    region = SimpleNamespace(
        region_id=7, class_name="water", band_names=("B4", "B8"), means=(1.0, 2.0), stds=(0.0, 0.0)
    )
    red = SimpleNamespace(name="B4", role="red", wavelength_nm=665.0)
    near = SimpleNamespace(name="B8", role=None, wavelength_nm=842.0)
    whole = spectrum_of(region, (red, near), "#0000ff")
    assert (whole.title, whole.names, whole.wavelengths_nm) == ("Region 7, water", ("red", "B8"), (665.0, 842.0))
    assert spectrum_of(region, (red,), "#0000ff").wavelengths_nm is None
    assert spectrum_of(region, (), "#0000ff").names == ("B4", "B8")


def test_a_table_holds_the_spectra_side_by_side():
    one = spectrum()
    other = one.of_class("forest", ((41.0, 1000.0), (3.0, 10.0)))
    rows = list(csv.reader(io.StringIO(as_table([one, other]))))
    assert rows[0] == [
        "band",
        "wavelength_nm",
        "Region 1204, forest: mean",
        "Region 1204, forest: standard deviation",
        "All forest: mean",
        "All forest: standard deviation",
    ]
    assert rows[1] == ["nir", "842", "40", "2.5", "41", "3"]
    assert rows[2] == ["red", "665", "1234.5", "", "1000", "10"]
    assert as_table([spectrum(wavelengths_nm=None)], "\t").splitlines()[1] == "nir\t40\t2.5"
