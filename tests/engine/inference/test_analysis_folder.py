"""Analysis folders: what is refused, what is read, what a full disk does."""

import errno
import json
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from inference_fakes import PointwiseModel, loaded, make_card, smooth_noise, write_scene

from engine.errors import AnalysisError, OutputError
from engine.inference import AnalysisOptions, analyse, open_analysis, store, token_attention
from engine.inference.events import Finished, StripWritten
from engine.inference.rasters import overview_factors
from engine.inference.rowfile import RowDamagedError, RowFile, write_rowfile
from engine.scene import Scene, Window

OPTIONS = AnalysisOptions(device="cpu")


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", smooth_noise((3, 150, 220), seed=5))


@pytest.fixture(scope="module")
def finished(scene_path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("analysis") / "out"
    run(scene_path, out)
    return out


def run(scene_path: Path, out: Path):
    with Scene.open(scene_path) as scene:
        return list(analyse(scene, loaded(PointwiseModel(), make_card()), out, OPTIONS))


def test_maps_and_table_agree(finished) -> None:
    with open_analysis(finished) as analysis:
        assert analysis.complete
        labels, classes = analysis.read("regions"), analysis.read("classes")
        frame = analysis.regions()
        ids, pixels = np.unique(labels, return_counts=True)
        np.testing.assert_array_equal(ids, frame.index)
        np.testing.assert_array_equal(pixels, frame["pixels"])
        assert analysis.info.regions == len(frame)
        region_id = analysis.region_id_at(100.5, 50.5)
        assert region_id == labels[50, 100]
        inside = classes[labels == region_id]
        assert analysis.region(region_id).class_code == np.bincount(inside).argmax()
        assert analysis.region_id_at(-1, 0) == analysis.region_id_at(0, 150) == 0
        assert [s.pixels for s in analysis.class_shares()] == np.bincount(classes.ravel(), minlength=3).tolist()


def test_reading_windows_and_scales(finished) -> None:
    with open_analysis(finished) as analysis:
        whole = analysis.read("classes")
        np.testing.assert_array_equal(analysis.read("classes", Window(10, 20, 30, 40)), whole[20:60, 10:40])
        beyond = analysis.read("classes", Window(-5, -5, 20, 20))
        assert (beyond[:5] == 255).all()
        np.testing.assert_array_equal(beyond[5:, 5:], whole[:15, :15])
        assert (analysis.read("regions", Window(500, 0, 8, 8)) == 0).all()
        bigger = analysis.read("classes", Window(10, 20, 8, 8), (32, 32))
        np.testing.assert_array_equal(bigger, np.kron(whole[20:28, 10:18], np.ones((4, 4), int)))
        assert analysis.read("confidence", out_shape=(15, 22)).shape == (15, 22)
        with pytest.raises(AnalysisError, match="no layer"):
            analysis.read("slope")


def test_many_threads_read_at_once(finished) -> None:
    with open_analysis(finished) as analysis:
        whole = analysis.read("classes")
        faults = []

        def work(seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(20):
                col, row = int(rng.integers(0, 180)), int(rng.integers(0, 110))
                if not np.array_equal(
                    analysis.read("classes", Window(col, row, 40, 40)), whole[row : row + 40, col : col + 40]
                ):
                    faults.append((col, row))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults


def test_attention_is_the_claim_of_the_regions_token(scene_path, finished) -> None:
    model = loaded(PointwiseModel(), make_card())
    with Scene.open(scene_path) as scene, open_analysis(finished) as analysis:
        region_id = analysis.region_id_at(100, 70)
        found = token_attention(scene, model, analysis, region_id)
        assert found.values.shape == (found.window.height, found.window.width)
        assert found.values.min() >= 0
        assert found.values.max() <= 1
        inside = analysis.read("regions", found.window) == region_id
        assert inside.any()
        assert found.values[inside].mean() > found.values[~inside].mean()
        with pytest.raises(AnalysisError, match="another model"):
            token_attention(scene, loaded(PointwiseModel(), make_card(), sha256="9" * 64), analysis, region_id)


def test_what_is_no_analysis(tmp_path, finished) -> None:
    with pytest.raises(AnalysisError, match="there is no such"):
        open_analysis(tmp_path / "missing")
    with pytest.raises(AnalysisError, match="holds no analysis"):
        open_analysis(tmp_path)
    newer = tmp_path / "newer"
    newer.mkdir()
    info = json.loads((finished / "analysis.json").read_text())
    (newer / "analysis.json").write_text(json.dumps({**info, "schema_version": 99}))
    with pytest.raises(AnalysisError, match=r"version 99.*Update RS Viewer"):
        open_analysis(newer)
    (newer / "analysis.json").write_text(json.dumps({**info, "grid": 7}))
    with pytest.raises(AnalysisError, match="damaged: grid"):
        open_analysis(newer)
    (newer / "analysis.json").write_text("{")
    with pytest.raises(AnalysisError, match="cannot be read"):
        open_analysis(newer)


def test_folders_that_cannot_be_written(scene_path, tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="Choose a folder"):
        run(scene_path, tmp_path / "file")
    with pytest.raises(OutputError, match="Choose a folder"):
        run(scene_path, tmp_path / "file" / "below")


def test_foreign_files_are_not_overwritten(scene_path, tmp_path) -> None:
    (tmp_path / "classes.tif").write_text("precious")
    with pytest.raises(AnalysisError, match="of something else"):
        run(scene_path, tmp_path)
    assert (tmp_path / "classes.tif").read_text() == "precious"


def test_too_little_space_is_said_before_the_run(scene_path, tmp_path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 0, 10))
    with pytest.raises(OutputError, match="GB are free"):
        run(scene_path, tmp_path / "out")


def test_a_disk_that_fills_up_keeps_what_is_done(scene_path, tmp_path, monkeypatch) -> None:
    calls = []

    def full(path, *args, **kwargs):
        calls.append(path)
        if len(calls) > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_rowfile(path, *args, **kwargs)

    monkeypatch.setattr(store, "write_rowfile", full)
    before = set(threading.enumerate())
    with pytest.raises(OutputError, match=r"disk is full.*goes on"):
        run(scene_path, tmp_path / "out")
    assert set(threading.enumerate()) == before
    assert not list((tmp_path / "out").glob("*.tif"))
    monkeypatch.undo()
    events = run(scene_path, tmp_path / "out")
    assert events[0].windows_done > 0
    assert isinstance(events[-1], Finished)


def test_an_open_analysis_notices_its_completion(scene_path, tmp_path) -> None:
    growing = None
    with Scene.open(scene_path) as scene:
        for event in analyse(scene, loaded(PointwiseModel(), make_card()), tmp_path / "out", OPTIONS):
            if isinstance(event, StripWritten) and growing is None:
                growing = open_analysis(tmp_path / "out")
                with pytest.raises(AnalysisError, match="Let the run finish"):
                    growing.regions()
                assert sum(share.share for share in growing.class_shares()) == pytest.approx(1)
    assert growing is not None
    assert growing.complete
    assert (growing.read("regions") > 0).all()
    assert len(growing.regions()) == growing.info.regions


def test_row_files_notice_damage(tmp_path) -> None:
    path = tmp_path / "a.row"
    arrays = {"zeros": np.zeros((40, 50), np.uint8), "noise": np.random.default_rng(0).random(7).astype(np.float32)}
    write_rowfile(path, arrays, meta={"row": 3}, raw=("noise",))
    file = RowFile(path)
    assert file.meta == {"row": 3}
    for name, array in arrays.items():
        np.testing.assert_array_equal(file.read(name), array)
    raw = path.read_bytes()
    for place in range(0, len(raw), 3):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(RowDamagedError):
            RowFile(path).verify()
    path.write_bytes(raw[:20])
    with pytest.raises(RowDamagedError):
        RowFile(path)


@pytest.mark.parametrize(
    ("size", "factors"), [(512, []), (513, [2]), (1025, [2, 4]), (40_000, [2, 4, 8, 16, 32, 64, 128])]
)
def test_overviews_go_down_to_one_tile(size, factors) -> None:
    assert overview_factors(size, 10) == factors


def test_importing_the_analysis_imports_neither_torch_nor_numba() -> None:
    heavy = "bool({'torch', 'numba'} & set(sys.modules))"
    code = f"import sys, engine, engine.inference.analysis, engine.inference.check; sys.exit({heavy})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
