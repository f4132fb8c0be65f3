"""What the default quadtree runner gains over the quickest of the others, and how its cost grows. Prints ratios."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from engine.tokenizers.quadtree import Layout, Random, run, tokenize

OTHERS = ("dict", "tensor", "z_curve")
TARGETS = {"tree": 10, "tokenization": 5}
SECONDS_A_ROUND = 0.03
LEAST = {"tree": 6, "tokenization": 3}
"""What a busy machine must reach; on an idle one the ratios lie above the targets."""

GROWTH = """
import torch
from engine.tokenizers.quadtree import Layout, Random, run
torch.set_num_threads(1)


def peak_kib():  # of this program alone: what getrusage tells begins with that of the process which started it
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))


edge = {edge}
layout = Layout(edge, edge, 16, 512)
images = torch.zeros(1, 1, 1, 1).expand(1, 3, edge, edge)
scores = Random(0)(images, 16, 512)
budget = layout.min_patches + 3 * (layout.max_patches // 12)
before = peak_kib()
run(images, scores, budget, 16, 512)
print(peak_kib() - before)
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # processor time means nothing where threads wait for one another
    yield
    torch.set_num_threads(threads)


def least_ms(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Processor time of each piece of work: the least of several rounds, each a few runs in a row."""
    found = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, do in work.items():
            do()
            runs, began = 0, time.process_time()
            while time.process_time() - began < SECONDS_A_ROUND or not runs:
                do()
                runs += 1
            found[name] = min(found[name], (time.process_time() - began) / runs)
    return {name: 1000 * seconds for name, seconds in found.items()}


def report(what: str, ms: dict[str, float], capsys: pytest.CaptureFixture[str]) -> float:
    quickest = min(OTHERS, key=lambda name: ms[name])
    ratio = ms[quickest] / ms["fast"]
    shown = ", ".join(f"{name} {value:.2f} ms" for name, value in ms.items())
    with capsys.disabled():
        print(f"\n{what}: {shown}; fast is {ratio:.1f} times as fast as {quickest} (target {TARGETS[what]})")
    return ratio


def test_tree_and_tokenization_against_the_other_runners(capsys: pytest.CaptureFixture[str]) -> None:
    images = torch.randn(32, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    scores = Random(1)(images, 16, 128)
    trees = {name: lambda name=name: run(images, scores, 400, 16, 128, name) for name in ("fast", *OTHERS)}
    whole = {name: lambda name=name: tokenize(images, scores, 400, 16, 128, name) for name in ("fast", *OTHERS)}
    assert report("tree", least_ms(trees, 12), capsys) >= LEAST["tree"]
    assert report("tokenization", least_ms(whole, 4), capsys) >= LEAST["tokenization"]


def test_cost_grows_with_the_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    ns_a_node = {}
    lines = []
    for edge in (2048, 4096, 8192, 16384):
        layout = Layout(edge, edge, 16, 512)
        images = torch.zeros(1, 1, 1, 1).expand(1, 3, edge, edge)
        scores = Random(0)(images, 16, 512)
        budget = layout.min_patches + 3 * (layout.max_patches // 12)
        took = least_ms({"fast": lambda i=images, s=scores, b=budget: run(i, s, b, 16, 512)}, 4)["fast"]
        ns_a_node[edge] = took * 1e6 / layout.offsets[-1]
        lines.append(f"{edge} px {layout.offsets[-1]} nodes {took:.1f} ms ({ns_a_node[edge]:.0f} ns a node)")
    code = GROWTH.format(edge=16384)
    memory = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    ratio = ns_a_node[16384] / ns_a_node[4096]
    with capsys.disabled():
        print(
            f"\n{'; '.join(lines)}: 16 times the nodes at {ratio:.2f} times the cost each; {memory / 1024:.0f} MiB more"
        )
    assert ratio < 5
    assert memory / 1024 < 1024
