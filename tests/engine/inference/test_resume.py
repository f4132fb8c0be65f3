"""Interrupted runs go on to the same bytes, however they were interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from inference_fakes import ConstantModel, PointwiseModel, loaded, make_card, smooth_noise, write_scene

from engine.errors import AnalysisError, CancelledError
from engine.inference import AnalysisOptions, analyse, open_analysis
from engine.inference.events import Finished, Started, StripWritten, WindowDone
from engine.scene import Scene

OPTIONS = AnalysisOptions(device="cpu", batch=3)
FILES = ("classes.tif", "classes.tif.aux.xml", "confidence.tif", "regions.tif", "regions.parquet", "analysis.json")


def model():
    return loaded(PointwiseModel(), make_card())


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory) -> Path:
    data = smooth_noise((4, 260, 170), seed=3)
    data[:, 60:90, 20:140] = 0
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", data, nodata=0)


@pytest.fixture(scope="module")
def uninterrupted(scene_path: Path, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    with Scene.open(scene_path) as scene:
        list(analyse(scene, model(), out, OPTIONS))
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
    return {name: (out / name).read_bytes() for name in FILES}


def finish(scene_path: Path, out: Path) -> tuple[int, dict[str, bytes]]:
    with Scene.open(scene_path) as scene:
        events = list(analyse(scene, model(), out, OPTIONS))
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    return events[0].windows_done, contents(out)


@pytest.mark.parametrize("stop_after", [1, 3, 7])
def test_resume_after_leaving_the_loop(scene_path, uninterrupted, tmp_path, stop_after) -> None:
    strips = 0
    with Scene.open(scene_path) as scene:
        for event in analyse(scene, model(), tmp_path / "out", OPTIONS):
            strips += isinstance(event, StripWritten)
            if strips == stop_after:
                break
    assert not open_analysis(tmp_path / "out").complete
    done, files = finish(scene_path, tmp_path / "out")
    assert done > 0
    assert files == uninterrupted


def test_resume_after_cancel_twice_and_while_finishing(scene_path, uninterrupted, tmp_path) -> None:
    out = tmp_path / "out"
    for limit in (30, 60):
        seen: list[int] = []

        def cancel(seen=seen, limit=limit) -> bool:
            return bool(seen) and seen[-1] >= limit

        with pytest.raises(CancelledError, match="go on"):
            watch(scene_path, out, seen, cancel)
    with Scene.open(scene_path) as scene:
        for event in analyse(scene, model(), out, OPTIONS):
            if type(event).__name__ == "StageChanged":
                break
    done, files = finish(scene_path, out)
    assert done == open_total(scene_path, tmp_path)
    assert files == uninterrupted


def watch(scene_path: Path, out: Path, seen: list[int], cancel) -> None:
    with Scene.open(scene_path) as scene:
        for event in analyse(scene, model(), out, OPTIONS, cancel=cancel):
            if isinstance(event, WindowDone):
                seen.append(event.windows_done)


def open_total(scene_path: Path, tmp_path: Path) -> int:
    with Scene.open(scene_path) as scene:
        for event in analyse(scene, model(), tmp_path / "other", OPTIONS):
            assert isinstance(event, Started)
            return event.windows
    raise AssertionError


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[3])
from inference_fakes import PointwiseModel, loaded, make_card
from engine.inference import AnalysisOptions, analyse
from engine.inference.events import StripWritten
from engine.scene import Scene
with Scene.open(sys.argv[1]) as scene:
    options = AnalysisOptions(device="cpu", batch=3)
    for event in analyse(scene, loaded(PointwiseModel(), make_card()), sys.argv[2], options):
        if isinstance(event, StripWritten):
            print(event.row_stop, flush=True)
            time.sleep(0.03)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL is a Unix signal")
def test_resume_after_sigkill(scene_path, uninterrupted, tmp_path) -> None:
    out = tmp_path / "out"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(scene_path), str(out), str(Path(__file__).parent)],
        stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert child.stdout is not None
    for _ in range(3):
        assert child.stdout.readline()
    time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    done, files = finish(scene_path, out)
    assert done > 0
    assert files == uninterrupted


@pytest.mark.parametrize("victim", ["row", "tail", "cut"])
def test_damaged_journal_is_noticed_and_done_again(scene_path, uninterrupted, tmp_path, victim) -> None:
    out = tmp_path / "out"
    strips = 0
    with Scene.open(scene_path) as scene:
        for event in analyse(scene, model(), out, OPTIONS):
            strips += isinstance(event, StripWritten)
            if strips == 4:
                break
    pattern = "tail-*.bin" if victim == "tail" else "rows/*.row"
    path = sorted((out / ".partial").glob(pattern))[-1]
    raw = bytearray(path.read_bytes())
    if victim == "cut":
        raw = raw[: len(raw) // 2]
    else:
        raw[-5] ^= 0xFF
    path.write_bytes(raw)
    _, files = finish(scene_path, out)
    assert files == uninterrupted


def test_a_complete_analysis_is_not_run_again(scene_path, uninterrupted, tmp_path) -> None:
    out = tmp_path / "out"
    finish(scene_path, out)
    counting = ConstantModel((0.0, 1.0, 0.0))
    with Scene.open(scene_path) as scene:
        events = list(analyse(scene, loaded(counting, make_card()), out, OPTIONS))
    assert counting.seen == 0
    assert [type(e) for e in events] == [Started, Finished]


def test_other_options_model_or_scene_are_refused(tmp_path) -> None:
    out = tmp_path / "out"
    scene_path = write_scene(tmp_path / "scene.tif", smooth_noise((3, 90, 70)))
    with Scene.open(scene_path) as scene:
        for event in analyse(scene, model(), out, OPTIONS):
            if isinstance(event, StripWritten):
                break
        with pytest.raises(AnalysisError, match=r"overlap_px: 8 there, 4 here.*another folder"):
            list(analyse(scene, model(), out, OPTIONS.model_copy(update={"overlap_px": 4})))
        with pytest.raises(AnalysisError, match="model"):
            list(analyse(scene, loaded(PointwiseModel(), make_card(), sha256="1" * 64), out, OPTIONS))
        list(analyse(scene, model(), out, OPTIONS.model_copy(update={"overlap_px": 4}), overwrite=True))
        assert open_analysis(out).info.resolved.overlap_px == 4
    os.utime(scene_path, ns=(1, 1))
    with Scene.open(scene_path) as scene, pytest.raises(AnalysisError, match="scene"):
        list(analyse(scene, model(), out, OPTIONS.model_copy(update={"overlap_px": 4})))


def test_one_run_a_folder(scene_path, tmp_path) -> None:
    out = tmp_path / "out"
    with Scene.open(scene_path) as scene:
        first = analyse(scene, model(), out, OPTIONS)
        next(first)
        with pytest.raises(AnalysisError, match="another run"):
            next(analyse(scene, model(), out, OPTIONS))
        first.close()
        next(analyse(scene, model(), out, OPTIONS))


def test_resumed_maps_match_the_pixels(scene_path, tmp_path) -> None:
    _, _ = finish(scene_path, tmp_path / "out")
    with Scene.open(scene_path) as scene:
        valid = scene.read().valid
    np.testing.assert_array_equal(open_analysis(tmp_path / "out").read("classes") != 255, valid)
