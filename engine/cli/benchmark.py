"""``rs-engine benchmark``: what a model costs and how fast it runs on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.console import print_json, say, size_text

if TYPE_CHECKING:
    from engine.models.benchmark import Benchmark


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("benchmark")(benchmark_command)


def benchmark_command(
    model: Annotated[
        list[str],
        typer.Argument(metavar="MODEL…", help="An architecture (lemevit_tiny), a shipped model's name, a checkpoint."),
    ],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    batch: Annotated[int, typer.Option(help="Images a batch.")] = 8,
    size: Annotated[
        int | None, typer.Option(help="Edge of the images; by default what the model is meant for.")
    ] = None,
    amp: Annotated[bool, typer.Option("--amp", help="Compute in bfloat16 where torch's autocast allows it.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Let torch compile the model first.")] = False,
    classes: Annotated[int | None, typer.Option(help="Classes of an architecture; by default as published.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a model.")] = False,
) -> None:
    """Print parameters, multiply-accumulates, images a second (warm, median of batches) and peak memory."""
    from engine.inference.device import choose_device
    from engine.models.benchmark import find_subject, run_benchmark

    chosen = choose_device(device)
    for name in model:
        found = run_benchmark(
            find_subject(name, classes),
            device=chosen.torch_device,
            batch=batch,
            size_px=size,
            precision="bfloat16" if amp else "float32",
            compiled=compiled,
            progress=lambda text, name=name: None if as_json else say(f"{name}: {text}"),  # type: ignore[misc]
        )
        if as_json:
            print_json(found)
        else:
            _show(found, chosen.label)


def _show(found: Benchmark, device: str) -> None:
    kind = "" if found.architecture == found.model else f"  {found.architecture}"
    classes = "" if found.classes is None else f", {found.classes} classes"
    one = "image" if found.unit == "images" else "pair"
    where = "on the device" if found.device.startswith("cuda") else "of the whole process"
    memory = "not told by this system" if found.memory_bytes is None else f"{size_text(found.memory_bytes)} {where}"
    how: list[str] = ["bfloat16 (autocast)" if found.precision == "bfloat16" else found.precision]
    how += ["compiled"] if found.compiled else []
    how += [f"{found.threads} thread{'s' if found.threads > 1 else ''}"] if found.device == "cpu" else []
    typer.secho(found.model, bold=True, nl=False)
    typer.echo(kind)
    rows = (
        ("parameters", f"{found.parameters:,}{classes}"),
        ("GMAC", f"{found.gmac:.3f} convolutions and linear, {found.gmac_with_attention:.3f} with attention"),
        ("", f"for one {one} of {found.size_px} px, counted on a pass of the model as built"),
        (f"{found.unit}/s", f"{found.per_s:.2f}, the median of {found.batches} batches of {found.batch}"),
        ("", f"{found.per_s_slowest:.2f} to {found.per_s_fastest:.2f}"),
        ("memory", f"{memory}, at its peak"),
        ("device", f"{device}; {', '.join(how)}"),
    )
    for name, text in rows:
        typer.echo(f"  {name:<12}{text}")
