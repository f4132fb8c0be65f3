"""Spectra of regions and of whole classes: mean and standard deviation of each band, in stored values.

Guarantees: nothing here knows of windows; the mean of a class is that of all pixels of its regions, however large each
region is.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rs_viewer import format as fmt
from rs_viewer.jobs import Context

if TYPE_CHECKING:
    import numpy.typing as npt

    from engine.inference.analysis import Analysis
    from engine.regions.table import Region

Moments = tuple[tuple[float, ...], tuple[float, ...]]
"""Means and standard deviations, band by band."""


@dataclass(frozen=True, slots=True)
class BandValue:
    """One band of a spectrum.

    Attributes:
        place: Where it stands on the axis: its wavelength, or its number from 1.
        name: Its name.
        wavelength_nm: Its wavelength, None where not all bands have one.
        mean: Mean, finite.
        std: Standard deviation, 0 where it is not known.
    """

    place: float
    name: str
    wavelength_nm: float | None
    mean: float
    std: float

    @property
    def label(self) -> str:
        """Name and wavelength."""
        return self.name if self.wavelength_nm is None else f"{self.name}, {self.wavelength_nm:.0f} nm"

    @property
    def text(self) -> str:
        """Mean and standard deviation."""
        return f"{fmt.significant(self.mean)} ± {fmt.significant(self.std)}"


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Mean and standard deviation of each band.

    Attributes:
        title: Whose spectrum it is.
        names: Bands in the scene's order.
        wavelengths_nm: Their wavelengths where all are known, else None.
        means: Mean of each band, in stored values.
        stds: Standard deviation of each band.
        color: Colour of the class.
    """

    title: str
    names: tuple[str, ...]
    wavelengths_nm: tuple[float, ...] | None
    means: tuple[float, ...]
    stds: tuple[float, ...]
    color: str

    def bands(self) -> list[BandValue]:
        """The bands with a finite mean, from left to right."""
        waves = self.wavelengths_nm or (None,) * len(self.means)
        rows = zip(self.names, waves, self.means, self.stds, strict=True)
        found = [
            BandValue(float(number) if wave is None else wave, name, wave, mean, std if math.isfinite(std) else 0.0)
            for number, (name, wave, mean, std) in enumerate(rows, start=1)
            if math.isfinite(mean)
        ]
        return sorted(found, key=lambda band: band.place)

    def text(self) -> str:
        """All values as one line, for those who do not see the plot."""
        values = "; ".join(f"{band.label}: {band.text.replace('±', 'plus or minus')}" for band in self.bands())
        return f"{self.title}. {values}"

    def of_class(self, name: str, moments: Moments) -> Spectrum:
        """The spectrum of all regions of this region's class."""
        means, stds = moments
        return replace(self, title=f"All {name}", means=means, stds=stds)


def spectrum_of(region: Region, bands: Any, color: str) -> Spectrum:
    """The spectrum of a region.

    Args:
        region: The region.
        bands: What the scene says about its bands; empty if the scene is not open.
        color: Colour of its class.
    """
    known_bands = {band.name: band for band in bands}
    found = [known_bands.get(name) for name in region.band_names]
    names = tuple(band.role or name if band else name for band, name in zip(found, region.band_names, strict=True))
    known = tuple(band.wavelength_nm if band else None for band in found)
    whole = tuple(value for value in known if value is not None)
    return Spectrum(
        title=f"Region {fmt.count(region.region_id)}, {region.class_name}",
        names=names,
        wavelengths_nm=whole if whole and len(whole) == len(known) else None,
        means=region.means,
        stds=region.stds,
        color=color,
    )


def class_moments(context: Context, analysis: Analysis) -> dict[int, Moments]:
    """Means and standard deviations over all regions of each class, by class code."""
    table = analysis.region_table
    if not len(table):
        return {}
    codes, pixels = table.column("class_code").astype(np.int64), table.column("pixels").astype(np.float64)
    found = []
    for band in table.region(1).band_names:
        context.raise_if_cancelled()
        found.append(_pooled(codes, pixels, table.column(f"mean_{band}"), table.column(f"std_{band}")))
    return {
        int(code): (tuple(float(m[code]) for m, _ in found), tuple(float(s[code]) for _, s in found))
        for code in np.unique(codes)
    }


def _pooled(
    codes: npt.NDArray[np.int64],
    pixels: npt.NDArray[np.float64],
    means: npt.NDArray[Any],
    stds: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of groups joined by code, NaN where a code has no values."""
    size = int(codes.max(initial=0)) + 1
    valid = np.isfinite(means)
    codes, weights, values = codes[valid], pixels[valid], means[valid].astype(np.float64)
    within = np.nan_to_num(stds[valid].astype(np.float64))
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is meant
        total = np.bincount(codes, weights, size)
        mean = np.bincount(codes, weights * values, size) / total
        between = values - mean[codes]
        variance = np.bincount(codes, weights * (within**2 + between**2), size) / total
    return mean, np.sqrt(variance)


def as_table(spectra: Sequence[Spectrum], delimiter: str = ",") -> str:
    """Spectra of the same bands as lines of text: a row for each band, mean and standard deviation side by side."""
    first = spectra[0]
    named = [spectrum.title.replace(fmt.THIN, "") for spectrum in spectra]
    columns = [f"{title}: {what}" for title in named for what in ("mean", "standard deviation")]
    waves = first.wavelengths_nm
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["band", *(["wavelength_nm"] if waves else []), *columns])
    for index, name in enumerate(first.names):
        values = [value for spectrum in spectra for value in (spectrum.means[index], spectrum.stds[index])]
        writer.writerow(
            [
                name,
                *([f"{waves[index]:g}"] if waves else []),
                *(f"{value:.9g}" if math.isfinite(value) else "" for value in values),
            ]
        )
    return text.getvalue()
