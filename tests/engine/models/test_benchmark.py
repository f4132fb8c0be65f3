"""What models cost and how fast they run: the published figures, and what the command prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.cli.main import main
from engine.errors import DeviceError, ModelNotFoundError, OptionError
from engine.models import create, save_checkpoint
from engine.models.benchmark import Subject, find_subject, peak_memory_bytes, run_benchmark
from engine.models.card import ModelCard
from engine.models.cost import count_image, count_macs

SMALL = {"num_classes": 3, "depths": (1, 1, 1, 1, 1), "widths": (32, 32, 32, 32, 32), "token_count": 4}
PUBLISHED = {
    "lemevit_tiny": (8_635_816, 1.779, 1.946, 224),
    "lemevit_small": (16_400_456, 3.736, 3.956, 224),
    "lemevit_base": (53_098_152, 11.060, 11.741, 224),
}
PARAMETERS = {
    "upernet_lemevit_tiny": (37_052_618, 512),
    "upernet_lemevit_small": (45_588_842, 512),
    "oriented_rcnn_lemevit_tiny": (25_370_474, 1024),
    "bit_lemevit_small": (16_746_882, 256),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    card: dict[str, Any] = {
        "name": "untaught", "title": "Untaught", "architecture": "lemevit_tiny", "config": SMALL,
        "task": "classification", "bands": ("red", "green", "blue"),
        "classes": tuple({"name": f"place {k}", "color": f"#{40 * k:02x}4020"} for k in range(3)),
        "scaling": {"divisor": 255, "mean": (0.4,) * 3, "std": (0.2,) * 3, "low": (0,) * 3, "high": (255,) * 3},
        "window_px": 48, "overlap_px": 0, "token_count": 4, "data": "none", "metrics": {}, "licence": "none",
        "source": "tests",
    }  # fmt: skip
    path = tmp_path_factory.mktemp("models") / "untaught.safetensors"
    save_checkpoint(path, create("lemevit_tiny", **SMALL).eval(), ModelCard.model_validate(card))
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_figures_come_out(name: str) -> None:
    parameters, layers, total, size_px = PUBLISHED[name]
    subject = find_subject(name)
    assert (subject.size_px, subject.classes, subject.images) == (size_px, 1000, 1)
    assert sum(p.numel() for p in subject.module.parameters()) == parameters
    macs = count_image(subject.module, subject.bands, size_px)
    assert (macs.layers / 1e9, macs.total / 1e9) == pytest.approx((layers, total), abs=5e-4)


@pytest.mark.parametrize("name", PARAMETERS)
def test_models_of_other_tasks_are_built_as_published(name: str) -> None:
    subject = find_subject(name)
    assert (sum(p.numel() for p in subject.module.parameters()), subject.size_px) == PARAMETERS[name]
    assert subject.images == (2 if name.startswith("bit") else 1)


def test_counting_with_and_without_values_agrees() -> None:
    """The fast form of the MLP that runs on processors counts as the layers it is."""
    module = create("lemevit_tiny", **SMALL).eval()
    assert count_image(module, 3, 64) == count_macs(module, torch.rand(1, 3, 64, 64))


def test_a_model_whose_work_hangs_on_what_it_sees_is_counted_on_a_real_image() -> None:
    small = {"num_classes": 2, "pyramid_channels": 8, "hidden": 16, "grid": 3, "proposals": 20, "max_objects": 5}
    module = create("oriented_rcnn_lemevit_tiny", **small).eval()
    body = create("lemevit_tiny_dense").eval()
    assert count_image(module, 3, 64).layers > count_image(body, 3, 64).layers > 0


class Sleeper(nn.Module):
    """Takes a known time."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        import time

        if images.device.type != "meta":
            time.sleep(0.02)
        return images


def test_speed_is_that_of_the_forward_pass() -> None:
    subject = Subject("sleeper", "sleeper", Sleeper(), 3, None, 32, 1)
    found = run_benchmark(subject, batch=4, timed_s=0.1)
    assert 50 < found.per_s < 200
    assert found.per_s_slowest <= found.per_s <= found.per_s_fastest
    assert found.batches >= 5
    assert (found.unit, found.parameters, found.gmac) == ("images", 0, 0.0)
    assert found.memory_bytes == peak_memory_bytes()


def test_pairs_are_counted_as_pairs() -> None:
    small = {"depths": (1, 1, 1, 1, 1), "widths": (32, 32, 32, 32, 32)}
    subject = Subject("pairs", "bit_lemevit_tiny", create("bit_lemevit_tiny", **small).eval(), 3, 2, 32, 2)
    found = run_benchmark(subject, batch=2, timed_s=0.0, precision="bfloat16")
    assert (found.unit, found.precision, found.batches) == ("pairs", "bfloat16", 5)


def test_the_model_stays_as_it_is() -> None:
    subject = find_subject("lemevit_tiny", classes=2)
    before = {key: value.clone() for key, value in subject.module.state_dict().items()}
    run_benchmark(subject, batch=1, size_px=32, timed_s=0.0)
    after = subject.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_what_cannot_be_is_said(checkpoint: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no model named.*lemevit_base"):
        find_subject("lemevit_huge")
    with pytest.raises(OptionError, match="fixed"):
        find_subject(checkpoint, classes=4)
    with pytest.raises(OptionError, match="above 0"):
        find_subject("lemevit_tiny", classes=0)
    with pytest.raises(OptionError, match="batch of 0"):
        run_benchmark(find_subject(checkpoint), batch=0)
    with pytest.raises(DeviceError, match="cannot be run"):
        run_benchmark(find_subject(checkpoint), device="cuda:63", size_px=32)


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code if isinstance(left.value.code, int) else 0


def test_the_command_prints_a_table_or_json(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(run_benchmark.__kwdefaults__, "timed_s", 0.0)
    assert run("benchmark", checkpoint, "--device", "cpu", "--batch", "2") == 0
    said = capsys.readouterr().out
    for part in (
        "untaught  lemevit_tiny",
        "3 classes",
        "with attention",
        "images/s",
        "batches of 2",
        "48 px",
        "memory",
    ):
        assert part in said
    assert run("benchmark", checkpoint, "--device", "cpu", "--size", "32", "--amp", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["model"], facts["size_px"], facts["batch"], facts["precision"]) == ("untaught", 32, 8, "bfloat16")
    assert facts["parameters"] == sum(p.numel() for p in create("lemevit_tiny", **SMALL).parameters())
    assert facts["gmac_with_attention"] > facts["gmac"] > 0
    assert run("benchmark", "lemevit_tinny") == 2
    assert "no model named" in capsys.readouterr().err
