"""The commands as a person runs them: arguments in, text and exit codes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine

sys.path.insert(0, str(Path(__file__).parents[1]))
from analysis_maker import CLASSES, make_analysis

from engine.cli.main import main

ROOT = Path(__file__).parents[3]
TINY = {
    "num_classes": 5,
    "token_count": 4,
    "embed_dim": 16,
    "depth": 1,
    "num_heads": 2,
    "key_dim": 8,
    "rounds": 1,
    "stem_width": 8,
    "widths": (8, 12, 16),
    "depths": (1, 1, 1),
}


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    code = left.value.code
    return code if isinstance(code, int) else 0


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif")


def write_scene(path: Path, size: int = 96, bands: int = 3) -> Path:
    rng = np.random.default_rng(1)
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": size, "height": size, "count": bands, "dtype": "uint8", "crs": "EPSG:32632",
        "transform": Affine(4.0, 0, 691600, 0, -4.0, 5334760),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(rng.integers(1, 255, (bands, size, size), np.uint8))
        for band, name in enumerate(("red", "green", "blue", "nir")[:bands], 1):
            out.set_band_description(band, name)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from engine.models.card import ModelCard
    from engine.models.checkpoint import save_checkpoint
    from engine.models.registry import create

    torch.manual_seed(0)
    card = ModelCard.model_validate(
        {
            "name": "tiny",
            "title": "Tiny",
            "architecture": "hook_competitive_segmenter",
            "config": TINY,
            "task": "segmentation",
            "classes": [{"name": name, "color": color} for name, color in CLASSES],
            "bands": ["red", "green", "blue"],
            "scaling": {"divisor": 255, "mean": [0.5] * 3, "std": [0.2] * 3, "low": [0] * 3, "high": [255] * 3},
            "window_px": 32,
            "overlap_px": 8,
            "gsd_m": 4.0,
            "token_count": 4,
            "data": "none",
            "metrics": {"validation": {"miou": 0.5}},
            "licence": "CC0-1.0",
            "source": "tests",
        }
    )
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_checkpoint(path, create("hook_competitive_segmenter", **TINY), card)
    return path


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, engine.cli.main as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'rasterio', 'geopandas', 'pydantic', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stderr.strip() == "[]"
    for command in ("info", "models", "analyse", "export", "doctor", "convert", "train", "evaluate"):
        assert command in answer.stdout


@pytest.mark.parametrize("command", ["info", "models", "analyse", "export", "doctor", "convert"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert "Usage: rs-engine" in capsys.readouterr().out


def test_info_of_scenes(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", scene) == 0
    shown = capsys.readouterr().out
    assert "96 x 96 pixels, 3 bands of uint8" in shown
    assert "EPSG:32632" in shown
    assert run("info", scene, scene, "--json") == 0
    first, second = lines(capsys.readouterr().out)
    assert first == second
    assert (first["kind"], first["width"], first["gsd_m"]) == ("scene", 96, pytest.approx(4.0, rel=1e-2))


def test_info_goes_on_after_a_bad_path(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.tif").write_text("no raster")
    assert run("info", tmp_path / "none.tif", tmp_path / "text.tif", scene) == 2
    shown = capsys.readouterr()
    assert "96 x 96" in shown.out
    assert shown.err.count("error:") == 2
    assert "Traceback" not in shown.err


def test_info_of_an_analysis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_analysis(tmp_path / "an")
    assert run("info", tmp_path / "an", "--json") == 0
    (facts,) = lines(capsys.readouterr().out)
    assert (facts["kind"], facts["complete"], facts["model"]["name"]) == ("analysis", True, "test-landcover")


def test_models(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "mine.safetensors").write_bytes(model.read_bytes())
    (folder / "broken.safetensors").write_bytes(b"broken")
    monkeypatch.setattr("engine.models.catalog.user_models_dir", lambda: folder)
    assert run("models") == 0
    shown = capsys.readouterr()
    assert "tiny" in shown.out
    assert "mIoU 0.500 on the validation split" in shown.out
    assert "warning:" in shown.err
    assert "broken.safetensors" in shown.err
    assert run("models", "--json") == 0
    cards = {entry["name"]: entry["card"] for entry in lines(capsys.readouterr().out)}
    assert cards["tiny"]["window_px"] == 32


def test_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    analysis = make_analysis(tmp_path / "an")
    target = tmp_path / "new" / "water.geojson"
    assert run("export", tmp_path / "an", "--to", target, "--classes", "water, Forest", "--simplify-px", "1.5") == 0
    assert str(target) in capsys.readouterr().out
    assert set(gpd.read_file(target)["class"]) == {"water", "forest"}
    assert run("export", tmp_path / "an", "--to", tmp_path / "c.tif", "--layer", "confidence") == 0
    with rasterio.open(tmp_path / "c.tif") as source:
        assert np.array_equal(source.read(1), analysis.read("confidence"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["export", "{an}", "--to", "{tmp}/a.shp"], ".gpkg (GeoPackage)"),
        (["export", "{tmp}", "--to", "{tmp}/a.gpkg"], "holds no analysis"),
        (["export", "{tmp}/none", "--to", "{tmp}/a.gpkg"], "no such analysis folder"),
        (["export", "{an}", "--to", "{tmp}/a.gpkg", "--classes", "sea"], "no class 'sea'"),
        (["export", "{an}", "--to", "{an}/classes.tif"], "part of the analysis"),
        (["analyse", "{scene}", "--out", "{tmp}/o", "--bands", "r,g"], "--bands 3,2,1"),
        (["analyse", "{scene}", "--out", "{tmp}/o", "--gsd", "-4"], "auto, native, model"),
        (["analyse", "{scene}", "--out", "{tmp}/o", "--window", "3"], "--window 3 cannot be used"),
        (["analyse", "{scene}", "--out", "{tmp}/o", "--precision", "half"], "--precision half cannot be used"),
        (["analyse", "{scene}", "--out", "{tmp}/o", "--model", "nonsense"], "no model named 'nonsense'"),
        (["analyse", "{scene}", "--out", "{tmp}/o", "--model", "{scene}.pt"], "no such checkpoint"),
        (["analyse", "{scene}", "--out", "{tmp}/o", "--roi", "{tmp}/none.gpkg"], "none.gpkg"),
        (["analyse", "{tmp}/none.tif", "--out", "{tmp}/o", "--model", "{model}"], "no such file"),
        (["analyse", "{scene}", "--out", "{tmp}/o", "--model", "{model}", "--device", "cuda:77"], "cuda:77"),
        (["analyse", "{scene}", "--out", "{tmp}/o", "--model", "{model}", "--bands", "1,2,9"], "9"),
        (["analyse", "{scene}", "--out", "{scene}/o", "--model", "{model}"], "scene.tif"),
        (["convert", "{scene}", "--model", "hook_segmenter", "-o", "{tmp}/a.safetensors"], "cannot be opened"),
    ],
)
def test_bad_input_is_one_sentence_with_a_way_out(
    words: list[str],
    expected: str,
    scene: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_analysis(tmp_path / "an")
    places = {"scene": scene, "model": model, "tmp": tmp_path, "an": tmp_path / "an"}
    assert run(*(word.format(**places) for word in words)) == 2
    shown = capsys.readouterr()
    errors = [line for line in shown.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert expected in errors[0]
    assert "Traceback" not in shown.err
    assert not (tmp_path / "o" / "analysis.json").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    from engine.errors import AnalysisError

    with pytest.raises(AnalysisError):
        main(["export", str(tmp_path), "--to", str(tmp_path / "a.gpkg"), "--debug"])


def test_a_fault_of_the_program_is_said_without_a_traceback(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("engine.scene.Scene.open", fail)
    assert run("info", scene) == 1
    assert "surprise" in capsys.readouterr().err


def test_analyse_and_export(scene: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("analyse", scene, "--out", out, "--model", model, "--device", "cpu") == 0
    shown = capsys.readouterr()
    assert "regions in" in shown.out
    assert "windows" in shown.err
    assert run("export", out, "--to", tmp_path / "a.gpkg") == 0
    regions = gpd.read_file(tmp_path / "a.gpkg", layer="regions")
    assert regions.area.sum() == pytest.approx(96 * 96 * 16)


def test_analyse_prints_its_events(
    scene: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("analyse", scene, "--out", tmp_path / "out", "--model", model, "--device", "cpu", "--json") == 0
    events = lines(capsys.readouterr().out)
    assert [events[0]["event"], events[-1]["event"]] == ["started", "finished"]
    done = [event["windows_done"] for event in events if event["event"] == "window_done"]
    assert done == sorted(done)
    assert done[-1] == events[0]["windows"]
    assert {event["scene"] for event in events} == {"scene.tif"}
    assert events[-1]["out_dir"] == str(tmp_path / "out")


def test_several_scenes_go_on_after_one_that_fails(
    scene: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    twin = write_scene(tmp_path / "other" / "scene.tif", size=40)
    (tmp_path / "bad.tif").write_text("no raster")
    out = tmp_path / "out"
    words = ["analyse", scene, tmp_path / "bad.tif", twin, "--out", out, "--model", model, "--device", "cpu"]
    assert run(*words) == 2
    assert sorted(p.name for p in out.iterdir()) == ["scene", "scene-2"]
    assert all((out / name / "analysis.json").exists() for name in ("scene", "scene-2"))
    assert capsys.readouterr().err.count("error:") == 1


def test_another_analysis_is_replaced_only_when_asked(
    scene: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["analyse", scene, "--out", tmp_path / "out", "--model", model, "--device", "cpu"]
    assert run(*words) == 0
    assert run(*words, "--overlap", "12") == 2
    assert "overlap_px" in capsys.readouterr().err
    assert run(*words, "--overlap", "12", "--overwrite") == 0


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(model: Path, tmp_path: Path) -> None:
    big = write_scene(tmp_path / "big.tif", size=1500)
    words = ["analyse", str(big), "--out", str(tmp_path / "out"), "--model", str(model), "--device", "cpu", "--json"]
    command = [sys.executable, "-m", "engine.cli.main", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "strip_written":
            process.send_signal(signal.SIGINT)
            break
    rest, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert lines(rest)[-1]["event"] == "cancelled"
    assert "Traceback" not in errors
    assert "to go on: rs-engine analyse" in errors
    assert not (tmp_path / "out" / "analysis.json").exists()
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    events = lines(again.stdout)
    assert events[0]["windows_done"] > 0
    assert events[-1]["event"] == "finished"


def test_doctor_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = run("doctor", "--json")
    (report,) = lines(capsys.readouterr().out)
    assert report["healthy"] == (code == 0)
    names = [check["name"] for check in report["checks"]]
    assert {"packages", "GDAL", "device", "models", "cache folder"} <= set(names)
    for check in report["checks"]:
        assert check["status"] in ("ok", "warn", "fail")
        assert bool(check["remedy"]) == (check["status"] != "ok"), check
