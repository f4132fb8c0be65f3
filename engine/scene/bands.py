"""Which band is which: names, colour roles and wavelengths of a raster's bands.

Roles come, in this order, from the caller, band descriptions, colour interpretation, wavelengths in the metadata and,
for one-band files, the naming habits of Landsat and Sentinel-2. What cannot be known is guessed from the number of
bands as producers commonly order them, and every guess carries a :class:`~engine.errors.BandWarning`.
Guarantees: no pixel is read; names are unique; a role is given to one band at most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from engine.errors import BandError, BandWarning

BandRole = Literal["coastal", "blue", "green", "yellow", "red", "red_edge", "nir", "swir1", "swir2", "thermal", "pan"]
ROLES: tuple[str, ...] = get_args(BandRole)


@dataclass(frozen=True)
class Band:
    """One band of a scene.

    Attributes:
        index: Number of the band, from 1.
        name: What the raster or, failing that, its role calls it.
        role: What part of the spectrum it shows, None where unknown.
        wavelength_nm: Central wavelength where the metadata give it.
        scale: Physical value = stored value * scale + offset. Reads give stored values.
        offset: See ``scale``.
        unit: Unit of the physical value, empty where unknown.
    """

    index: int
    name: str
    role: BandRole | None = None
    wavelength_nm: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""


@dataclass(frozen=True)
class BandFacts:
    """What a raster's header says about one band, as far as it matters here.

    Attributes:
        description: The band's description, empty where there is none.
        color: GDAL's colour interpretation in lower case.
        tags: The band's metadata of all domains that may hold a wavelength.
        scale: Stored to physical values.
        offset: Stored to physical values.
        unit: Unit of the physical values.
        file_stem: Name of the file, without suffix, where every band has a file of its own.
    """

    description: str = ""
    color: str = "undefined"
    tags: Mapping[str, str] | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    file_stem: str = ""


_COLORS: dict[str, BandRole] = {
    "red": "red", "green": "green", "blue": "blue", "yellow": "yellow", "pan": "pan", "coastal": "coastal",
    "rededge": "red_edge", "nir": "nir", "lwir": "thermal", "tir": "thermal",
}  # fmt: skip

_WORDS: tuple[tuple[str, BandRole], ...] = (
    (r"red[\s_-]*edge|rededge|vegetation[\s_-]*red[\s_-]*edge|\bre[1-4]?\b", "red_edge"),
    (r"pan(chromatic)?", "pan"),
    (r"coastal([\s_-]*(aerosol|blue))?|aerosol", "coastal"),
    (r"nir[\s_-]*\d*[an]?|near[\s_-]*infra[\s_-]*red|infra[\s_-]*red|\bir\b", "nir"),
    (r"swir[\s_-]*1(6(00)?)?|short[\s_-]*wave[\s_-]*infra[\s_-]*red[\s_-]*1", "swir1"),
    (r"swir[\s_-]*2(2(00)?)?|short[\s_-]*wave[\s_-]*infra[\s_-]*red[\s_-]*2", "swir2"),
    (r"swir|short[\s_-]*wave[\s_-]*infra[\s_-]*red", "swir1"),
    (r"thermal|tirs?[\s_-]*\d*|lwir[\s_-]*\d*", "thermal"),
    (r"red|\br\b", "red"),
    (r"green|\bg\b", "green"),
    (r"blue|\bb\b", "blue"),
    (r"yellow", "yellow"),
)

# https://sentiwiki.copernicus.eu/web/s2-mission (MSI bands)
_SENTINEL2: dict[str, tuple[BandRole | None, float]] = {
    "1": ("coastal", 443), "2": ("blue", 490), "3": ("green", 560), "4": ("red", 665), "5": ("red_edge", 705),
    "6": (None, 740), "7": (None, 783), "8": ("nir", 842), "8A": (None, 865), "9": (None, 945), "10": (None, 1375),
    "11": ("swir1", 1610), "12": ("swir2", 2190),
}  # fmt: skip
# https://www.usgs.gov/faqs/what-are-band-designations-landsat-satellites
_LANDSAT_TM: dict[str, tuple[BandRole | None, float]] = {
    "1": ("blue", 485), "2": ("green", 560), "3": ("red", 660), "4": ("nir", 830), "5": ("swir1", 1650),
    "6": ("thermal", 11450), "7": ("swir2", 2215), "8": ("pan", 710),
}  # fmt: skip
_LANDSAT_OLI: dict[str, tuple[BandRole | None, float]] = {
    "1": ("coastal", 443), "2": ("blue", 482), "3": ("green", 561), "4": ("red", 655), "5": ("nir", 865),
    "6": ("swir1", 1609), "7": ("swir2", 2201), "8": ("pan", 590), "9": (None, 1373), "10": ("thermal", 10895),
    "11": (None, 12005),
}  # fmt: skip

_RANGES_NM: tuple[tuple[float, float, BandRole], ...] = (
    (400, 450, "coastal"), (450, 520, "blue"), (520, 585, "green"), (585, 625, "yellow"), (625, 690, "red"),
    (690, 760, "red_edge"), (760, 960, "nir"), (1500, 1800, "swir1"), (2000, 2400, "swir2"), (8000, 14000, "thermal"),
)  # fmt: skip
_TARGETS_NM: dict[str, float] = {
    "coastal": 443, "blue": 485, "green": 555, "yellow": 605, "red": 660, "red_edge": 705, "nir": 842,
    "swir1": 1610, "swir2": 2200, "thermal": 10900,
}  # fmt: skip

_GUESSES: dict[int, tuple[tuple[BandRole | None, ...], str]] = {
    3: (("red", "green", "blue"), "red, green, blue"),
    4: (("red", "green", "blue", "nir"), "red, green, blue, near infrared"),
    6: (("blue", "green", "red", "nir", "swir1", "swir2"), "the reflective bands of Landsat, blue first"),
    12: (tuple(_SENTINEL2[b][0] for b in _SENTINEL2 if b != "10"), "Sentinel-2 level 2A, B1 to B12 without B10"),
    13: (tuple(role for role, _ in _SENTINEL2.values()), "Sentinel-2 level 1C, B1 to B12"),
}


def describe_bands(
    facts: Sequence[BandFacts], roles: Mapping[str, int] | None = None
) -> tuple[tuple[Band, ...], tuple[BandWarning, ...]]:
    """Name the bands of a raster and find their roles.

    Args:
        facts: What the header says, one entry a band.
        roles: Roles set by hand, role to band number; they win over everything else.

    Raises:
        BandError: A role set by hand is unknown or names a band that is not there.
    """
    sentinel = any(fact.description.strip().upper() == "B8A" for fact in facts)
    found = [_from_header(fact, sentinel) for fact in facts]
    warnings: list[BandWarning] = []
    assigned: list[BandRole | None] = _one_band_a_role(found)
    by_hand = _checked(roles, len(facts))
    guessed: set[int] = set()
    if not any(assigned) and not by_hand:
        guess = _GUESSES.get(len(facts))
        if guess is not None:
            assigned, guessed = list(guess[0]), set(range(len(facts)))
            warnings.append(
                BandWarning(f"The raster does not name its {len(facts)} bands; they were taken for {guess[1]}.")
            )
    elif not by_hand and _lacks_only_nir(assigned, facts):
        assigned[3] = "nir"
        guessed.add(3)
        warnings.append(BandWarning("Band 4 has no name; it was taken for near infrared."))
    for role, number in by_hand.items():
        assigned = [None if r == role else r for r in assigned]
        assigned[number - 1] = role
    bands = [
        Band(i + 1, "", role, found[i][1], facts[i].scale, facts[i].offset, facts[i].unit)
        for i, role in enumerate(assigned)
    ]
    return _named(bands, facts, guessed), tuple(warnings)


def rgb_bands(bands: Sequence[Band]) -> tuple[tuple[int, int, int], BandWarning | None]:
    """Numbers of the bands to show as red, green and blue, and a warning where that is a choice.

    Falls back to colour infrared, then to the first three bands, then to one band in grey.
    """
    by_role = {band.role: band.index for band in bands if band.role is not None}
    if {"red", "green", "blue"} <= by_role.keys():
        return (by_role["red"], by_role["green"], by_role["blue"]), None
    if len(bands) < 3:
        return (1, 1, 1), None
    if {"nir", "red", "green"} <= by_role.keys():
        chosen, words = (
            (by_role["nir"], by_role["red"], by_role["green"]),
            "near infrared, red, green",
        )
    else:
        chosen, words = (1, 2, 3), "bands 1, 2, 3"
    return chosen, BandWarning(f"The raster names no red, green and blue bands; {words} are shown instead.")


def find_roles(bands: Sequence[Band], roles: Sequence[str], *, where: str) -> tuple[int, ...]:
    """Numbers of the bands with these roles, in this order.

    Raises:
        BandError: A role is unknown or no band has it.
    """
    by_role = {band.role: band.index for band in bands if band.role is not None}
    missing = [role for role in roles if role not in by_role]
    if missing:
        named = ", ".join(f"{band.index} {band.name}" + (f" ({band.role})" if band.role else "") for band in bands)
        raise BandError(
            f"the raster has no band known as {', '.join(missing)}; its bands are {named}",
            where=where,
            remedy="Say which band is which (bands by hand in the analysis panel, --bands on the command line), "
            "or choose a model made for these bands.",
        )
    return tuple(by_role[role] for role in roles)  # type: ignore[index]


def sensor_band(stem: str) -> tuple[BandRole | None, float] | None:
    """Role and wavelength of a one-band file named as Landsat and Sentinel-2 products are, None for other names."""
    match = re.search(r"(?:^|[_.-])(?:SR_|ST_)?B(\d{1,2}A?)(?:[_.-]\d+m)?(?:$|[_.-])", stem, re.IGNORECASE)
    if match is None:
        return None
    number = match[1].upper()
    if re.match(r"L[TEM]\d|L[TEM]0\d|LM", stem, re.IGNORECASE):
        return _LANDSAT_TM.get(number)
    if re.match(r"L[CO]\d", stem, re.IGNORECASE):
        return _LANDSAT_OLI.get(number)
    if number.startswith("0") or number.endswith("A") or re.match(r"S2[A-D]|T\d\d[A-Z]{3}", stem, re.IGNORECASE):
        return _SENTINEL2.get(number.lstrip("0"))
    return None


def _from_header(fact: BandFacts, sentinel: bool) -> tuple[BandRole | None, float | None]:
    wavelength = _wavelength_nm(fact.tags or {})
    role = _from_words(fact.description) or _COLORS.get(fact.color)
    if role is None and fact.color == "swir" and wavelength is not None:
        role = "swir1" if wavelength < 1900 else "swir2"
    sensor = sensor_band(fact.file_stem) if fact.file_stem else None
    sensor = sensor or _sentinel_name(fact.description, sentinel)
    if sensor is not None:
        role = role or sensor[0]
        wavelength = wavelength if wavelength is not None else sensor[1]
    return role, wavelength


def _sentinel_name(description: str, sentinel: bool) -> tuple[BandRole | None, float] | None:
    """Sentinel-2 writes its band numbers with a leading zero or has a B8A beside; a bare ``B4`` may be anyone's."""
    match = re.fullmatch(r"B(\d|1[0-2]|8A)" if sentinel else r"B(0\d|8A)", description.strip(), re.IGNORECASE)
    return _SENTINEL2.get(match[1].upper().lstrip("0")) if match else None


def _from_words(text: str) -> BandRole | None:
    words = re.sub(r"[()\[\],:;/]", " ", text.lower()).replace("_", " ").strip()
    for pattern, role in _WORDS:
        if re.search(rf"(?<![a-z])(?:{pattern})(?![a-z])", words):
            return role
    return None


def _wavelength_nm(tags: Mapping[str, str]) -> float | None:
    lower = {key.lower(): value for key, value in tags.items()}
    for key, unit in (("central_wavelength_um", 1000.0), ("central_wavelength_nm", 1.0), ("wavelength", None)):
        match = re.match(r"\s*([0-9.]+(?:[eE][+-]?\d+)?)", lower.get(key, ""))
        if match is None:
            continue
        value = float(match[1])
        if unit is None:
            named = (lower.get("wavelength_units") or lower.get("wavelength_unit") or lower[key]).lower()
            nanometres = "nano" in named or re.search(r"\bnm\b", named)
            micrometres = "micro" in named or "\N{MICRO SIGN}m" in named or re.search(r"\bum\b", named)
            unit = 1.0 if nanometres else 1000.0 if micrometres or value < 100 else 1.0
        return value * unit
    return None


def _one_band_a_role(found: Sequence[tuple[BandRole | None, float | None]]) -> list[BandRole | None]:
    """First come, first served for named roles; by nearness to the role's centre for wavelengths."""
    assigned: list[BandRole | None] = []
    taken: set[str] = set()
    for role, _ in found:
        assigned.append(role if role is not None and role not in taken else None)
        taken.update([role] if role is not None else [])
    for low, high, role in _RANGES_NM:
        if role in taken:
            continue
        near = [
            (abs(nm - _TARGETS_NM[role]), i)
            for i, (named, nm) in enumerate(found)
            if nm is not None and low <= nm < high and assigned[i] is None and named is None
        ]
        if near:
            assigned[min(near)[1]] = role
            taken.add(role)
    return assigned


def _lacks_only_nir(assigned: Sequence[BandRole | None], facts: Sequence[BandFacts]) -> bool:
    """Red, green, blue and a fourth band that nothing is said about."""
    return (
        len(facts) == 4 and {"red", "green", "blue"} == set(assigned[:3]) and not (assigned[3] or facts[3].description)
    )


def _checked(roles: Mapping[str, int] | None, count: int) -> dict[BandRole, int]:
    checked: dict[BandRole, int] = {}
    for role, number in (roles or {}).items():
        if role not in ROLES:
            raise BandError(f"{role!r} is no band role", remedy=f"Roles are {', '.join(ROLES)}.")
        if not 1 <= number <= count:
            raise BandError(
                f"band {number} was named as {role}, but the raster has {count} band{'s' if count > 1 else ''}",
                remedy=f"Use a number from 1 to {count}.",
            )
        checked[role] = number  # type: ignore[index]
    return checked


def _named(bands: list[Band], facts: Sequence[BandFacts], guessed: set[int]) -> tuple[Band, ...]:
    names: list[str] = []
    for i, band in enumerate(bands):
        known = band.role if i not in guessed else None
        name = facts[i].description.strip() or known or f"band_{band.index}"
        names.append(name if name not in names else f"{name}_{band.index}")
    return tuple(replace(band, name=name) for band, name in zip(bands, names, strict=True))
