"""Numbers as people read them: one place decides units, digits and separators.

Guarantees: every function returns text for any finite input and an en dash for None and NaN.
"""

from __future__ import annotations

import math

NONE = "\u2013"
THIN = "\u202f"


def _missing(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def count(value: int | None) -> str:
    """A whole number with thin spaces between thousands."""
    return NONE if value is None else f"{value:,}".replace(",", THIN)


def significant(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits and no exponent where it can be helped."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    decimals = max(digits - 1 - power, 0)
    return f"{value:,.{min(decimals, 8)}f}".replace(",", THIN)


def stepped(value: float, step: float) -> str:
    """A value of a scale that goes in steps of ``step``: as many decimals as the step has."""
    decimals = max(math.ceil(-math.log10(step) - 1e-9), 0) if step > 0 else 0
    if decimals > 6 or abs(value) >= 1e7:
        return f"{value:g}"
    return f"{value:,.{decimals}f}".replace(",", THIN)


def area(area_m2: float | None) -> str:
    """An area in m², ha or km²."""
    if area_m2 is None or _missing(area_m2):
        return NONE
    if area_m2 < 10_000:
        return f"{significant(area_m2)} m²"
    if area_m2 < 1_000_000:
        return f"{significant(area_m2 / 10_000)} ha"
    return f"{significant(area_m2 / 1_000_000)} km²"


def length(length_m: float | None) -> str:
    """A length in m or km."""
    if length_m is None or _missing(length_m):
        return NONE
    return f"{significant(length_m)} m" if length_m < 1000 else f"{significant(length_m / 1000)} km"


def percent(share: float | None) -> str:
    """A share from 0 to 1 in percent."""
    if share is None or _missing(share):
        return NONE
    value = 100 * share
    if value == 0:
        return "0 %"
    if value < 0.1:
        return "< 0.1 %"
    return f"{value:.1f} %" if value < 99.95 else "100 %"


def duration(seconds: float | None) -> str:
    """A time span as ``m:ss`` or ``h:mm:ss``."""
    if seconds is None or _missing(seconds):
        return NONE
    total = max(int(seconds + 0.5), 0)
    hours, rest = divmod(total, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def bytes_(size: float | None) -> str:
    """A size in binary units."""
    if size is None or _missing(size):
        return NONE
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{significant(size)} {unit}"
        size /= 1024
    return NONE


def lonlat(lon: float, lat: float) -> str:
    """A place on Earth, five decimals (about a metre)."""
    if _missing(lon) or _missing(lat):
        return NONE
    return f"{abs(lat):.5f}° {'N' if lat >= 0 else 'S'}  {abs(lon):.5f}° {'E' if lon >= 0 else 'W'}"


def scale(metres_per_screen_pixel: float, pixels_per_inch: float = 96.0) -> str:
    """The map's scale as ``1:25 000``, rounded to three digits."""
    if _missing(metres_per_screen_pixel) or metres_per_screen_pixel <= 0:
        return NONE
    ratio = metres_per_screen_pixel * pixels_per_inch / 0.0254
    step = 10 ** max(math.floor(math.log10(ratio)) - 2, 0)
    return f"1:{count(max(round(ratio / step) * step, 1))}"


def rate(windows_per_s: float | None) -> str:
    """A processing rate."""
    return NONE if _missing(windows_per_s) else f"{significant(windows_per_s, 3)} windows/s"
