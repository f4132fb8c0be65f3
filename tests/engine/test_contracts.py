"""The arrows of the design, held by machine: who may import whom, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.api import read_configuration
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
LIGHT = ["engine", "engine.scene", "engine.inference.analysis", "engine.models.card", "engine.models.catalog",
         "engine.export", "engine.cli.main", "engine.environment"]  # fmt: skip
VIEWER_MAY_NOT = {"torch", "rasterio", "shapely", "geopandas", "pyogrio", "osgeo", "pyproj"}
ENGINE_MAY_NOT = {"PySide6", "pyqtgraph", "PyQt5", "PyQt6", "rs_viewer"}


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_import_contracts_hold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    config = str(ROOT / "pyproject.toml")
    kinds = [contract["type"] for contract in read_configuration(config)["contracts_options"]]
    assert sorted(kinds) == ["forbidden", "layers"]
    status = lint_imports(config_filename=config, no_cache=True)
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("module", LIGHT)
def test_importing_the_engine_imports_neither_torch_nor_qt(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'PySide6', 'lightning'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no files in {package}"
    return found


def test_the_viewer_reaches_torch_and_gdal_only_through_the_engine() -> None:
    wrong = {str(p.relative_to(ROOT)): sorted(imported(p) & VIEWER_MAY_NOT) for p in files("rs_viewer")}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_the_engine_knows_no_window() -> None:
    wrong = {str(p.relative_to(ROOT)): sorted(imported(p) & ENGINE_MAY_NOT) for p in files("engine")}
    assert {path: names for path, names in wrong.items() if names} == {}
