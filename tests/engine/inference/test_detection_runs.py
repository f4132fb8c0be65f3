"""Whole runs of a detector: events, folder, interruption, what lies outside, measures on the ground."""

import threading
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from detection_fakes import detect, detector, write_places
from inference_fakes import ConstantModel, loaded, make_card, smooth_noise, write_scene
from rasterio.crs import CRS

from engine.errors import AnalysisError, CancelledError
from engine.inference import AnalysisOptions, analyse, open_analysis
from engine.inference.detection.measures import measure
from engine.inference.events import Finished, StageChanged, Started, StripWritten, WindowDone
from engine.scene import Grid, Scene

BOXES = [(40.0, 30.0, 18.0, 6.0, 0.3), (150.0, 90.0, 16.0, 7.0, -1.0), (90.0, 60.0, 14.0, 5.0, 1.2)]


@pytest.fixture
def places(tmp_path: Path) -> Path:
    return write_places(tmp_path / "scene.tif", 200, 130)


def test_events_files_and_numbers(places: Path, tmp_path: Path) -> None:
    events = detect(places, detector(BOXES, labels=[0, 1, 0]), tmp_path / "out")
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert (events[-1].detections, events[-1].regions) == (3, 0)
    done = [e for e in events if isinstance(e, WindowDone)]
    assert done[-1].windows_done == done[-1].windows == events[0].windows
    assert [e.fraction for e in events if isinstance(e, StageChanged)][-1] == 1
    strips = [(e.row_start, e.row_stop) for e in events if isinstance(e, StripWritten)]
    assert strips[0][0] == 0
    assert strips[-1][1] == 130
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["analysis.json", "detections.parquet"]
    analysis = open_analysis(tmp_path / "out")
    assert analysis.kind == "detection"
    assert analysis.info.detections is not None
    assert [(c.name, c.count) for c in analysis.info.detections.by_class] == [("class 0", 2), ("class 1", 1)]
    assert analysis.info.resolved.min_score == 0.4
    assert analysis.info.resolved.max_overlap == 0.1


def test_the_table_holds_oriented_polygons(places: Path, tmp_path: Path) -> None:
    detect(places, detector(BOXES, labels=[0, 1, 0]), tmp_path / "out")
    table = open_analysis(tmp_path / "out").detections()
    assert table.crs.to_epsg() == 32632
    assert table.index.tolist() == [1, 2, 3]
    assert set(table["class"]) == {"class 0", "class 1"}
    plain = gpd.read_parquet(tmp_path / "out" / "detections.parquet")
    assert plain.geometry.is_valid.all()
    for x, y, w, h, angle in BOXES:
        row = table[(table.col - x).abs() < 0.01].iloc[0]
        assert row.row == pytest.approx(y, abs=0.01)
        assert row.length_m == pytest.approx(4 * w, rel=2e-3)
        assert row.width_m == pytest.approx(4 * h, rel=2e-3)
        assert row.geometry.area == pytest.approx(16 * w * h, rel=1e-4)
        assert len(row.geometry.exterior.coords) == 5
        assert row.geometry.exterior.is_ccw
        grid_bearing = (90 + np.degrees(angle)) % 180
        assert abs((row.angle_deg - grid_bearing + 90) % 180 - 90) < 0.1  # at the zone's middle meridian
        assert row.image_angle_deg == pytest.approx(np.degrees(angle), abs=1e-3)
        centre = row.geometry.centroid
        assert (centre.x, centre.y) == pytest.approx((500_000 + 4 * x, 5_300_000 - 4 * y), abs=0.1)


def test_objects_come_back_in_pixels(places: Path, tmp_path: Path) -> None:
    detect(places, detector(BOXES, labels=[0, 1, 0]), tmp_path / "out")
    found = open_analysis(tmp_path / "out").objects()
    order = found.boxes[:, 0].argsort()
    expected = np.array(sorted(BOXES))
    np.testing.assert_allclose(found.boxes[order], expected, atol=1e-4)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_less_sure_objects_are_left_out(places: Path, tmp_path: Path) -> None:
    detect(places, detector(BOXES), tmp_path / "all", min_score=0.0)
    detect(places, detector(BOXES), tmp_path / "none", min_score=0.95)
    assert len(open_analysis(tmp_path / "all").objects()) == 3
    analysis = open_analysis(tmp_path / "none")
    assert len(analysis.objects()) == len(analysis.detections()) == 0
    assert analysis.detections().crs.to_epsg() == 32632


def test_nodata_and_region_of_interest_limit_the_objects(tmp_path: Path) -> None:
    path = write_places(tmp_path / "scene.tif", 200, 130)
    ring = [(500_000 + 4 * c, 5_300_000 - 4 * r) for c, r in ((70, 40), (199, 40), (199, 129), (70, 129), (70, 40))]
    roi = {"geometry": {"type": "Polygon", "coordinates": [ring]}, "crs": "EPSG:32632"}
    model = detector(BOXES)
    detect(path, model, tmp_path / "roi", roi=roi)
    assert sorted(open_analysis(tmp_path / "roi").objects().boxes[:, 0].round()) == [90, 150]
    data = np.stack([*np.mgrid[:130, :200][::-1], np.full((130, 200), 7)]).astype(np.uint16)
    data[:, 50:, 120:] = 60_000
    holed = write_scene(tmp_path / "holed.tif", data, nodata=60_000)
    detect(holed, model, tmp_path / "holed")
    assert sorted(open_analysis(tmp_path / "holed").objects().boxes[:, 0].round()) == [40, 90]


def test_a_scene_smaller_than_a_window(tmp_path: Path) -> None:
    path = write_places(tmp_path / "scene.tif", 40, 30)
    detect(path, detector([(20.0, 15.0, 12.0, 5.0, 0.4), (38.0, 45.0, 6.0, 4.0, 0.0)]), tmp_path / "out")
    found = open_analysis(tmp_path / "out").objects()
    np.testing.assert_allclose(found.boxes, [[20, 15, 12, 5, 0.4]], atol=1e-4)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_an_interrupted_run_goes_on_to_the_same_bytes(places: Path, tmp_path: Path) -> None:
    model = detector(BOXES)
    detect(places, model, tmp_path / "whole")
    before = set(threading.enumerate())
    with Scene.open(places) as scene:
        for event in analyse(scene, model, tmp_path / "out", AnalysisOptions(device="cpu")):
            if isinstance(event, StripWritten) and event.row_start > 0:
                break
    assert set(threading.enumerate()) == before
    growing = open_analysis(tmp_path / "out")
    assert not growing.complete
    assert len(growing.objects()) >= 1
    assert growing.class_shares() == []
    with pytest.raises(AnalysisError, match="complete"):
        growing.detections()
    again = detect(places, model, tmp_path / "out")
    assert again[0].windows_done > 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert len(growing.objects()) == 3
    third = detect(places, model, tmp_path / "out")
    assert [type(e) for e in third] == [Started, Finished]
    assert third[-1].detections == 3
    with pytest.raises(AnalysisError, match="min_score"):
        detect(places, model, tmp_path / "out", min_score=0.2)


def test_cancel_keeps_what_is_done(places: Path, tmp_path: Path) -> None:
    model = detector(BOXES)
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) > 12

    with Scene.open(places) as scene:
        events = analyse(scene, model, tmp_path / "out", AnalysisOptions(device="cpu", batch=1), cancel=cancel)
        with pytest.raises(CancelledError, match="go on"):
            list(events)
    assert detect(places, model, tmp_path / "out", batch=1)[-1].detections == 3


def test_kinds_of_analysis_say_what_they_do_not_hold(places: Path, tmp_path: Path) -> None:
    detect(places, detector(BOXES), tmp_path / "objects")
    found = open_analysis(tmp_path / "objects")
    for ask in (lambda: found.read("classes"), lambda: found.region_table, found.regions):
        with pytest.raises(AnalysisError, match="no maps or regions"):
            ask()
    path = write_scene(tmp_path / "land.tif", smooth_noise((3, 40, 40)))
    with Scene.open(path) as scene:
        list(analyse(scene, loaded(ConstantModel((1.0, 0.0)), make_card(classes=2)), tmp_path / "maps"))
    with pytest.raises(AnalysisError, match="no objects"):
        open_analysis(tmp_path / "maps").detections()


def grid(crs: str | None, transform: Affine) -> Grid:
    return Grid(400, 400, transform, CRS.from_user_input(crs) if crs else None)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", Affine(2, 0, 300_000, 0, -2, 5_500_000)),
        ("EPSG:3857", Affine(3, 0, 1_300_000, 0, -3, 6_200_000)),
        ("EPSG:4326", Affine(3e-5, 0, 11.0, 0, -2e-5, 48.0)),
        ("EPSG:32633", Affine(2, 0, 300_000, 0, -2, 5_500_000) @ Affine.rotation(33)),
        ("EPSG:32633", Affine(2, 0, 300_000, 0, 2, 5_500_000)),
    ],
    ids=["utm", "mercator", "degrees", "rotated", "south-up"],
)
def test_measures_are_those_on_the_ground(crs: str, transform: Affine) -> None:
    """Against pyproj, from the corners on the map."""
    on = grid(crs, transform)
    rng = np.random.default_rng(1)
    boxes = np.column_stack((rng.uniform(0, 400, (60, 2)), rng.uniform(20, 60, 60), rng.uniform(3, 9, 60)))
    boxes = np.column_stack((boxes, rng.uniform(-1.5, 1.5, 60)))
    found = measure(boxes, on)
    geod = pyproj.Geod(ellps="WGS84")
    for box, length, width, angle in zip(boxes, found.length_m, found.width_m, found.angle_deg, strict=True):
        u = np.array((np.cos(box[4]), np.sin(box[4])))
        tip, tail = box[:2] + u * box[2] / 2, box[:2] - u * box[2] / 2
        (lon0, lon1), (lat0, lat1) = on.lonlat([tail[0], tip[0]], [tail[1], tip[1]])
        azimuth, _, metres = geod.inv(lon0, lat0, lon1, lat1)
        assert length == pytest.approx(metres, rel=1e-9)
        assert abs((angle - azimuth + 90) % 180 - 90) < 1e-6
        assert 0 < width < length


def test_north_and_east_are_what_people_call_them() -> None:
    on = grid("EPSG:32632", Affine(1, 0, 500_000, 0, -1, 5_300_000))
    boxes = np.array([[10, 10, 8, 2, 0.0], [10, 10, 8, 2, np.pi / 2], [10, 10, 8, 2, np.pi / 4]])
    np.testing.assert_allclose(measure(boxes, on).angle_deg, [90, 0, 135], atol=0.01)


def test_without_a_crs_angles_count_from_the_top_and_there_are_no_metres(tmp_path: Path) -> None:
    path = write_places(tmp_path / "scene.tif", 100, 80, crs=None)
    detect(path, detector([(50.0, 40.0, 18.0, 6.0, 0.5)]), tmp_path / "out")
    row = open_analysis(tmp_path / "out").detections().iloc[0]
    assert row.angle_deg == pytest.approx(90 + np.degrees(0.5), abs=1e-3)
    assert np.isnan(row.length_m)
    assert row.x == pytest.approx(500_000 + 4 * 50, abs=0.01)


def test_another_planet_has_its_own_metres() -> None:
    mars = "+proj=eqc +lat_ts=0 +lat_0=0 +lon_0=0 +x_0=0 +y_0=0 +R=3396190 +units=m +no_defs"
    on = grid(mars, Affine(5, 0, 0, 0, -5, 1000))
    found = measure(np.array([[100.0, 100.0, 40.0, 10.0, 0.0]]), on)
    assert found.length_m[0] == pytest.approx(200, rel=1e-3)
    assert found.width_m[0] == pytest.approx(50, rel=1e-3)


def test_a_growing_run_shows_only_what_it_has(places: Path, tmp_path: Path) -> None:
    """Rows of windows so far, settled among themselves: no object twice."""
    counts = []
    with Scene.open(places) as scene:
        for event in analyse(scene, detector(BOXES), tmp_path / "out", AnalysisOptions(device="cpu")):
            if isinstance(event, StripWritten):
                counts.append(len(open_analysis(tmp_path / "out").objects()))
    assert counts == sorted(counts)
    assert counts[-1] == 3


def test_polygons_lie_where_the_boxes_do(tmp_path: Path) -> None:
    path = write_places(tmp_path / "scene.tif", 120, 100)
    detect(path, detector([(60.0, 50.0, 20.0, 8.0, 0.7)]), tmp_path / "out")
    analysis = open_analysis(tmp_path / "out")
    ring = np.array(analysis.detections().geometry.iloc[0].exterior.coords)
    col, row = analysis.grid.colrow(ring[:, 0], ring[:, 1])
    drawn = shapely.Polygon(np.column_stack((col, row)))
    box = shapely.affinity.rotate(shapely.box(50, 46, 70, 54), np.degrees(0.7), origin=(60, 50))
    assert drawn.symmetric_difference(box).area < 0.01
