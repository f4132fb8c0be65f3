"""LeMeViT's forward pass against the method written out plainly, at the published size, with the same logits."""

import time

import pytest
import torch
from lemevit_plain import PlainLemevit

from engine.models import create

TARGET = 1.3
LEAST = 1.15
"""What a busy machine must reach; on an idle one the ratio lies above the target."""
BATCH, EDGE, ROUNDS = 8, 224, 5


def seconds(model: torch.nn.Module, images: torch.Tensor) -> tuple[float, float]:
    """Wall and processor time of one pass."""
    wall, cpu = time.perf_counter(), time.process_time()
    model(images)
    return time.perf_counter() - wall, time.process_time() - cpu


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["lemevit_tiny", "lemevit_small"])
def test_forward_pass_against_the_plain_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    plain, ours = PlainLemevit(name).eval(), create(name).eval()
    ours.load_state_dict(plain.state_dict())
    images = torch.randn(BATCH, 3, EDGE, EDGE)
    with torch.inference_mode():
        expected, found = plain(images), ours(images).logits
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
        rounds = [(*seconds(plain, images), *seconds(ours, images)) for _ in range(ROUNDS)]
    plain_wall, plain_cpu, wall, cpu = (min(times) for times in zip(*rounds, strict=True))
    with capsys.disabled():
        print(
            f"\n{name}, batch {BATCH}, {EDGE} px, {torch.get_num_threads()} threads: {plain_wall / wall:.2f} times as "
            f"fast by wall time, {plain_cpu / cpu:.2f} by processor time (target {TARGET}); {BATCH / wall:.0f} images/s"
        )
    assert max(plain_wall / wall, plain_cpu / cpu) >= LEAST
