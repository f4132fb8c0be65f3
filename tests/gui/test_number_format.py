"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from rs_viewer import format as fmt


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: fmt.area(0.0), "0 m²"),
        (lambda: fmt.area(812.4), "812 m²"),
        (lambda: fmt.area(358_000.0), "35.8 ha"),
        (lambda: fmt.area(6_170_000.0), "6.17 km²"),
        (lambda: fmt.area(None), "\u2013"),
        (lambda: fmt.length(999.0), "999 m"),
        (lambda: fmt.length(4020.0), "4.02 km"),
        (lambda: fmt.percent(0.0), "0 %"),
        (lambda: fmt.percent(0.0004), "< 0.1 %"),
        (lambda: fmt.percent(0.9999), "100 %"),
        (lambda: fmt.percent(0.3141), "31.4 %"),
        (lambda: fmt.percent(math.nan), "\u2013"),
        (lambda: fmt.duration(0.2), "0:00"),
        (lambda: fmt.duration(59.6), "1:00"),
        (lambda: fmt.duration(3725), "1:02:05"),
        (lambda: fmt.lonlat(11.5755, 48.1372), "48.13720° N  11.57550° E"),
        (lambda: fmt.lonlat(-99.1, -47.0), "47.00000° S  99.10000° W"),
        (lambda: fmt.lonlat(math.inf, 0.0), "\u2013"),
        (lambda: fmt.scale(0.0254 / 96 * 25_000), "1:25\u202f000"),
        (lambda: fmt.scale(0.0254 / 96 * 123_456), "1:123\u202f000"),
        (lambda: fmt.scale(0.0), "\u2013"),
        (lambda: fmt.count(1234567), "1\u202f234\u202f567"),
        (lambda: fmt.significant(0.00012345), "0.000123"),
        (lambda: fmt.significant(-1234.5), "-1\u202f234"),
        (lambda: fmt.bytes_(141 * 2**30), "141 GiB"),
        (lambda: fmt.stepped(1500.0, 500.0), "1\u202f500"),
        (lambda: fmt.stepped(0.2, 0.1), "0.2"),
        (lambda: fmt.stepped(0.05, 0.025), "0.05"),
        (lambda: fmt.stepped(2e9, 1e9), "2e+09"),
        (lambda: fmt.stepped(3e-9, 1e-9), "3e-09"),
        (lambda: fmt.bytes_(512), "512 B"),
        (lambda: fmt.rate(8.561), "8.56 windows/s"),
    ],
)
def test_numbers_read_well(call, text):
    assert call() == text
