"""Work on the device: scaling, memory that runs out, ranks and token maps, refinement."""

import platform

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inference_fakes import ConstantModel, PointwiseModel, loaded, make_card, smooth_noise, tokens_of, write_scene

from engine.errors import CheckpointError, DeviceError, DeviceWarning
from engine.inference import AnalysisOptions, analyse, choose_device, list_devices, open_analysis
from engine.inference.blend import StripBlender, rank, token_map
from engine.inference.device import has_fast_bfloat16
from engine.inference.events import WarningRaised
from engine.inference.info import BandScaling
from engine.inference.pixels import draw_convex, finish_rows
from engine.inference.plan import WindowPlan
from engine.inference.refine import refine_assignment
from engine.inference.stage import DeviceStage, upload
from engine.inference.workers import Workers
from engine.models import registry
from engine.models.hook_competitive import ConvexUpsampling
from engine.scene import Scene


class Narrow(PointwiseModel):
    """Holds two windows at most."""

    def forward(self, images):
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().forward(images)


class Hopeless(PointwiseModel):
    def forward(self, images):
        raise torch.cuda.OutOfMemoryError("out of memory")


def test_memory_that_runs_out_halves_the_batch_and_goes_on(tmp_path) -> None:
    path = write_scene(tmp_path / "scene.tif", smooth_noise((3, 100, 200)))
    options = AnalysisOptions(device="cpu", batch=8)
    with Scene.open(path) as scene:
        events = list(analyse(scene, loaded(Narrow(), make_card()), tmp_path / "narrow", options))
        list(analyse(scene, loaded(PointwiseModel(), make_card()), tmp_path / "wide", options))
    said = [e.warning.message for e in events if isinstance(e, WarningRaised)]
    assert all(isinstance(e.warning, DeviceWarning) for e in events if isinstance(e, WarningRaised))
    assert any("going on with 2" in text for text in said)
    for name in ("classes.tif", "confidence.tif", "regions.tif"):
        assert (tmp_path / "narrow" / name).read_bytes() == (tmp_path / "wide" / name).read_bytes()


def test_a_window_that_never_fits_is_an_error(tmp_path) -> None:
    path = write_scene(tmp_path / "scene.tif", smooth_noise((3, 100, 200)))
    with Scene.open(path) as scene, pytest.raises(DeviceError, match="one window of 32"):
        list(analyse(scene, loaded(Hopeless(), make_card()), tmp_path / "out", AnalysisOptions(device="cpu")))


def test_a_model_that_answers_nan_is_an_error(tmp_path) -> None:
    path = write_scene(tmp_path / "scene.tif", smooth_noise((3, 40, 40)))
    model = loaded(ConstantModel((0.0, float("nan"), 1.0)), make_card())
    with Scene.open(path) as scene, pytest.raises(CheckpointError, match="not numbers"):
        list(analyse(scene, model, tmp_path / "out", AnalysisOptions(device="cpu")))


@settings(deadline=None)
@given(classes=st.integers(1, 6), height=st.integers(1, 9), width=st.integers(1, 40), seed=st.integers(0, 9999))
def test_ranks_are_a_stable_sort(classes, height, width, seed) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, (classes, height, width)).astype(np.float32) / 4  # many ties
    order = np.argsort(-values, axis=0, kind="stable")
    runner_up = order[1] if classes > 1 else np.full_like(order[0], 255)
    codes = np.empty((3, height, width), np.uint8)
    nothing = np.empty((classes, 0, width), np.float32)
    assert finish_rows(values, nothing, np.empty(0, np.float32), height, height, codes, nothing)
    np.testing.assert_array_equal(codes[0], order[0])
    np.testing.assert_array_equal(codes[1], np.clip(np.rint(values.max(axis=0) * 100), 1, 100))
    np.testing.assert_array_equal(codes[2], runner_up)
    best, first, second = rank(torch.from_numpy(values))
    np.testing.assert_array_equal(best, values.max(axis=0))
    np.testing.assert_array_equal(first, order[0])
    np.testing.assert_array_equal(second, runner_up)


@pytest.mark.parametrize(("width", "height", "overlap"), [(100, 90, 8), (64, 64, 16), (20, 24, 8), (70, 33, 0)])
def test_blending_on_other_devices_agrees_with_the_processor(width, height, overlap) -> None:
    plan = WindowPlan(width, height, 32, overlap)
    one, other = (StripBlender(plan, 4, torch.device("cpu")) for _ in range(2))
    other._host = False  # the tensor code, which other devices run
    for row in range(plan.rows):
        for window in plan.row_windows(row):
            values = torch.randn(4, 32, 32).softmax(dim=0)
            one.add(window, values)
            other.add(window, values)
        mine, theirs = one.finish_row(row), other.finish_row(row)
        np.testing.assert_allclose(mine.tail, theirs.tail, atol=1e-6)
        np.testing.assert_array_equal(mine.classes, theirs.classes)
        np.testing.assert_allclose(mine.confidence.astype(int), theirs.confidence, atol=1)
        np.testing.assert_array_equal(mine.runner_up, theirs.runner_up)


@pytest.mark.parametrize("tokens", [16, 300])
def test_drawing_in_one_pass_agrees_with_the_model(tokens) -> None:
    torch.manual_seed(tokens)
    upsampling = ConvexUpsampling(3 * torch.randn(2, 5, 7, 9, 16))
    logits, claims = 20 * torch.randn(2, 5, 5, 7), torch.rand(2, tokens, 5, 7)
    probabilities, token_maps = draw_convex(logits, claims, upsampling)
    torch.testing.assert_close(probabilities, upsampling(logits).softmax(dim=1), atol=1e-5, rtol=1e-4)
    drawn = upsampling(claims)
    assert token_maps.dtype == (torch.uint8 if tokens <= 255 else torch.int16)
    taken = drawn.gather(1, token_maps.long()[:, None])[:, 0]
    torch.testing.assert_close(taken, drawn.amax(dim=1), atol=1e-6, rtol=0)
    logits[1, 2, 3, 3] = float("nan")
    assert draw_convex(logits, claims, upsampling)[0].isnan().any()


def test_a_run_draws_as_the_model_does() -> None:
    model = registry.create("hook_competitive_segmenter", num_classes=3).eval()
    ready = loaded(model, make_card(window=48)).to("cpu")
    pixels = np.random.default_rng(1).integers(0, 255, (2, 3, 48, 48), np.uint8)
    windows = WindowPlan(96, 48, 48, 0).row_windows(0)
    (maps,) = DeviceStage(ready, None, 48).run(windows, pixels)
    expected = ready(ready.normalise(torch.from_numpy(pixels))).at_pixels(48, 48)
    torch.testing.assert_close(maps.probabilities, expected.logits.softmax(dim=1), atol=1e-5, rtol=1e-4)
    assert (maps.token_maps.long() == expected.assignment.argmax(dim=1)).float().mean() > 0.999


@pytest.mark.parametrize("tokens", [1, 7, 255, 300])
def test_token_map_is_argmax(tokens) -> None:
    claims = torch.rand(2, tokens, 11, 13)
    claims[:, :, 0] = 0.5
    found = token_map(claims)
    assert found.dtype == (torch.uint8 if tokens <= 255 else torch.int16)
    assert torch.equal(found.long(), claims.argmax(dim=1))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_every_data_type_reaches_the_device(dtype) -> None:
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "ui" else None
    values = np.array([info.min, 0, 1, info.max] if info else [-2.5, 0, 1, 1e6], dtype).reshape(1, 1, 2, 2)
    found = upload(values, torch.device("cpu")).double().numpy()
    np.testing.assert_allclose(found, values.astype(np.float64), rtol=1e-6)


def test_scaling_is_a_line_and_a_clip() -> None:
    seen = []

    class Looking(PointwiseModel):
        def forward(self, images):
            seen.append(images.clone())
            return super().forward(images)

    model = loaded(Looking(), make_card(window=16))
    scaling = BandScaling(low=(0,) * 3, high=(1,) * 3, gain=(0.1,) * 3, offset=(5.0,) * 3, clip=(0.0, 255.0))
    stage = DeviceStage(model, scaling, 16)
    pixels = np.full((1, 3, 16, 16), 1000, np.uint16)
    pixels[0, 0] = 60000
    window = WindowPlan(16, 16, 16, 0).row_windows(0)
    stage.run(window, pixels)
    expected = (np.array([255.0, 105.0, 105.0]) / 255 - 0.4) / 0.2
    np.testing.assert_allclose(seen[0].mean(dim=(0, 2, 3)).numpy(), expected, rtol=1e-5)


def test_refinement_follows_the_image_where_the_grid_cannot() -> None:
    edge = 29  # not a multiple of 4
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, :, edge:] = 1.0
    coarse = (torch.nn.functional.avg_pool2d(image[:, :1], 4) > 0.5).float()
    assignment = torch.cat((1 - coarse, coarse), dim=1)
    refined = refine_assignment(assignment, image).argmax(dim=1)[0]
    plain = torch.nn.functional.interpolate(assignment, (64, 64), mode="bilinear").argmax(dim=1)[0]
    truth = image[0, 0].long()
    assert (refined != truth).sum() == 0
    assert (plain != truth).sum() > 0


def test_refinement_keeps_a_constant_assignment() -> None:
    assignment = torch.tensor([0.2, 0.7, 0.1]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    refined = refine_assignment(assignment, torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(refined, assignment[:, :, :1, :1].expand(2, 3, 32, 32), atol=1e-4, rtol=0)


def test_models_without_upsampler_are_refined(tmp_path) -> None:
    class Coarse(PointwiseModel):
        def forward(self, images):
            small = torch.nn.functional.avg_pool2d(images, 4)
            output = super().forward(small)
            return type(output)(output.logits, tokens_of(small))

    data = np.full((3, 64, 64), 60, np.uint8)
    data[:, :, 30:] = 200
    path = write_scene(tmp_path / "scene.tif", data)
    with Scene.open(path) as scene:
        model = loaded(Coarse(), make_card(window=64, overlap=0))
        list(analyse(scene, model, tmp_path / "out", AnalysisOptions(device="cpu")))
    regions = open_analysis(tmp_path / "out").read("regions")
    assert (regions[:, :30] == regions[0, 0]).all()
    assert (regions[:, 30:] == regions[0, 63]).all()
    assert regions[0, 0] != regions[0, 63]


def test_workers_leave_the_callers_threads_alone() -> None:
    before = torch.get_num_threads()
    workers = Workers(torch.device("cpu"))
    inside = [workers.submit(torch.get_num_threads).result() for _ in range(4)]
    assert torch.get_num_threads() == before
    assert 1 <= max(inside) * workers.count <= before
    assert workers.ahead >= workers.count
    workers.close()


def test_devices_say_why() -> None:
    chosen = choose_device("cpu")
    assert chosen.label.startswith("CPU")
    assert chosen.reason
    assert choose_device("auto") == list_devices()[0]
    with pytest.raises(DeviceError, match="no device called"):
        choose_device("quantum")
    if not torch.cuda.is_available():
        assert "No graphics card" in choose_device("auto").reason
        with pytest.raises(DeviceError, match="CUDA cannot be used"):
            choose_device("cuda:0")


@pytest.mark.parametrize(
    ("machine", "stands_in", "native", "fast"),
    [
        ("x86_64", True, False, False),  # AVX-512 without the instructions: oneDNN computes it, several times slower
        ("x86_64", True, True, True),
        ("x86_64", False, True, False),
        ("aarch64", True, False, True),
    ],
)
def test_bfloat16_is_fast_where_the_processor_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, stands_in: bool, native: bool, fast: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: stands_in)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: native)
    assert has_fast_bfloat16(torch.device("cpu")) is fast
