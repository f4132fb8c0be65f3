from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.cli import checks
from engine.environment import drop_foreign_paths, foreign_paths


def by_name(found: list[checks.Check], name: str) -> checks.Check:
    return next(check for check in found if check.name == name)


def test_data_of_another_program_is_found_and_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyproj

    other = tmp_path / "qgis" / "proj"
    other.mkdir(parents=True)
    (other / "proj.db").write_bytes(b"another version")
    grids = tmp_path / "grids"
    grids.mkdir()
    monkeypatch.setenv("PROJ_DATA", str(other))
    monkeypatch.setenv("PROJ_LIB", str(grids))
    monkeypatch.delenv("GDAL_DATA", raising=False)
    assert [(f.variable, f.path) for f in foreign_paths()] == [("PROJ_DATA", str(other))]
    (finding,) = checks._paths()
    assert (finding.name, finding.status) == ("PROJ_DATA", "warn")
    assert drop_foreign_paths()[0].variable == "PROJ_DATA"
    assert foreign_paths() == []
    monkeypatch.setenv("PROJ_DATA", pyproj.datadir.get_data_dir())
    assert foreign_paths() == []


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    real = checks._version
    monkeypatch.setattr(checks, "_version", lambda name: None if name in ("pyogrio", "lightning") else real(name))
    found = list(checks._packages())
    assert [(c.status, c.remedy) for c in found if c.name == "packages"][1] == ("fail", "pip install pyogrio")
    assert by_name(found, "training").status == "warn"


def test_a_missing_default_model_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.models.catalog.resources_dir", lambda: tmp_path / "none")
    monkeypatch.setattr("engine.models.catalog.user_models_dir", lambda: tmp_path / "models")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "bad.safetensors").write_bytes(b"damaged")
    warning, missing = checks._models()
    assert (warning.status, missing.status) == ("warn", "fail")
    assert "bad.safetensors" in warning.detail


def test_a_graphics_card_that_is_not_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.inference.device import DeviceInfo

    cpu = DeviceInfo("cpu", "cpu", "CPU: test", "No graphics card is used.", None)
    monkeypatch.setattr("engine.inference.device.list_devices", lambda: [cpu])
    monkeypatch.setattr(checks, "_graphics_driver", lambda: "Some Card, 550.1")
    (finding,) = checks._device()
    assert finding.status == "warn"
    assert "Some Card" in finding.detail
    monkeypatch.setattr(checks, "_graphics_driver", lambda: None)
    (finding,) = checks._device()
    assert finding.status == "ok"


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks._writable("cache folder", tmp_path / "a" / "b").status == "ok"
    (tmp_path / "file").write_text("x")
    assert checks._writable("cache folder", tmp_path / "file" / "b").status == "fail"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names Debian's packages")
def test_libraries_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None if name == "EGL" else name)
    finding = next(iter(checks._window()))
    assert finding.status == "warn"
    assert finding.remedy == "sudo apt-get install libegl1"
