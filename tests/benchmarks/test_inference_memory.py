"""Peak memory of a run follows the scene's width, not its height."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

WIDTH = 1024
HEIGHTS = (8_000, 40_000)
SMALL_CACHES = {"GDAL_CACHEMAX": "16", "MALLOC_ARENA_MAX": "1"}
"""GDAL keeps blocks up to a limit and the allocator memory for each thread: both are full in the small scene too."""
MOST = 1.1

CHILD = """
import sys
from pathlib import Path
import torch
from engine.inference import AnalysisOptions, analyse
from engine.models.card import CardClass, ModelCard, Scaling
from engine.models.loaded import LoadedModel
from engine.models.output import TokenOutput
from engine.scene import Scene
from engine.tokenizers.base import Tokens

folder = Path(sys.argv[1])
path = folder / "scene.tif"


class Cheap(torch.nn.Module):
    def forward(self, images):
        level = images.mean(dim=1, keepdim=True)
        claims = (-8 * (level - torch.linspace(-1, 1, 4).view(1, -1, 1, 1)) ** 2).softmax(dim=1)
        tokens = Tokens(claims.mean(dim=(2, 3))[:, :, None].expand(-1, -1, 64), claims)
        return TokenOutput(claims[:, :3], tokens, upsample=lambda maps: maps)


card = ModelCard(
    name="cheap", title="Cheap", architecture="none", config={}, task="segmentation",
    classes=tuple(CardClass(name=n, color="#000000") for n in "abc"), bands=("red", "green", "blue"),
    scaling=Scaling(divisor=255, mean=(0.5,) * 3, std=(0.2,) * 3, low=(1,) * 3, high=(254,) * 3),
    window_px=256, overlap_px=64, gsd_m=4, token_count=4, data="", metrics={}, licence="", source="",
)
with Scene.open(path) as scene:
    for _ in analyse(scene, LoadedModel(Cheap(), card, "0"), folder / "out", AnalysisOptions(device="cpu")):
        pass
# Of this program alone: the peak that getrusage tells begins with that of the process which started it.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux counts it")
def test_peak_memory_follows_the_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), **SMALL_CACHES}
    peaks = []
    for height in HEIGHTS:
        folder = tmp_path / str(height)
        folder.mkdir()
        _write_scene(folder / "scene.tif", height)
        command = [sys.executable, "-c", CHILD, str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=folder)
        peaks.append(int(done.stdout) / 1024)
    ratio = peaks[1] / peaks[0]
    with capsys.disabled():
        low, high = (f"{peak:.0f} MiB at {WIDTH} x {height}" for peak, height in zip(peaks, HEIGHTS, strict=True))
        print(f"\npeak memory {low}, {high}: {ratio:.2f} (at most {MOST})")
    assert ratio <= MOST


def _write_scene(path: Path, height: int) -> None:
    """Waves that begin anew every 400 rows."""
    y, x = np.mgrid[0:400, 0:WIDTH]
    waves = [128 + 90 * np.sin(x / 37 + k) * np.sin(y / 400 * 4 * np.pi + k) for k in range(3)]
    tile = np.stack(waves).astype(np.uint8)
    profile = {
        "driver": "GTiff", "count": 3, "height": height, "width": WIDTH, "dtype": "uint8", "crs": "EPSG:32632",
        "transform": Affine(4, 0, 500_000, 0, -4, 5_300_000), "compress": "lzw", "tiled": True, "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for row in range(0, height, 400):
            file.write(tile, window=((row, row + 400), (0, WIDTH)))
