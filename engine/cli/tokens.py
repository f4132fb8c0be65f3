"""``rs-engine tokens``: what a model perceives in pictures, drawn; ``rs-engine classify``: what it takes them for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.console import print_json, say, say_warning
from engine.errors import ModelNotFoundError, OptionError

_LARGEST_PICTURE_PX = 8192


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("tokens")(tokens_command)
    app.command("classify")(classify_command)


def tokens_command(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Pictures or scenes.")],
    model: Annotated[
        list[str],
        typer.Option(help="A model's name, a checkpoint, or a folder of checkpoints of one training's epochs."),
    ],
    out: Annotated[Path, typer.Option(help="A folder for each picture is made in it.")],
    most_px: Annotated[int, typer.Option(help="Of a larger scene, the middle of this edge is shown.")] = 1024,
    part: Annotated[
        str | None,
        typer.Option(help="The part to show, as COL,ROW,WIDTH,HEIGHT in pixels at the resolution the model sees."),
    ] = None,
    most_tokens: Annotated[int, typer.Option(help="Of more tokens, those that hold most pixels are drawn.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    bands: Annotated[str | None, typer.Option(help="Bands for the model's bands, as 3,2,1.")] = None,
) -> None:
    """Draw token maps and each token's attention; with several checkpoints, a sheet through the epochs."""
    import torch

    from engine.cli.analyse import band_numbers
    from engine.inference.device import choose_device
    from engine.inference.options import AnalysisOptions
    from engine.inference.picture import read_picture
    from engine.models.loaded import load_model
    from engine.training.perception import Perceived, perceive
    from engine.training.token_pictures import save_epochs, save_pictures

    if most_tokens < 1:
        raise OptionError(f"{most_tokens} tokens cannot be drawn", remedy="Give a number above 0.")
    shown = _numbers(part)
    paths = [path for name in model for path in _checkpoints(name)]
    target = choose_device(device).torch_device
    seen: dict[str, list[tuple[str, Perceived]]] = {image: [] for image in images}
    options = AnalysisOptions(bands=band_numbers(bands))
    for number, path in enumerate(paths):
        loaded = load_model(path, device=target)
        for image in images:
            picture = read_picture(image, loaded.card, most_px=most_px, part=shown, options=options)
            for warning in picture.warnings if not number else ():
                say_warning(warning)
            seen[image].append((Path(path).stem, perceive(loaded, torch.from_numpy(picture.stored))))
    card = loaded.card
    for image, states in seen.items():
        folder = out / Path(image).stem
        written = save_pictures(states[-1][1], card, folder, most_tokens)
        if len(states) > 1:
            written += save_epochs(states, card, folder)
        say(f"{folder}: {len(written)} pictures")
        typer.echo(str(written[-1]))


def classify_command(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Pictures of one scene each.")],
    model: Annotated[str, typer.Option(help="A scene classifier: its name or a checkpoint.")],
    top: Annotated[int, typer.Option(help="How many of the likeliest classes to tell.")] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    bands: Annotated[str | None, typer.Option(help="Bands for the model's bands, as 3,2,1.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a picture.")] = False,
) -> None:
    """Say what kind of scene each picture shows."""
    import torch

    from engine.cli.analyse import band_numbers
    from engine.inference.device import choose_device
    from engine.inference.options import AnalysisOptions
    from engine.inference.picture import read_picture
    from engine.models.loaded import load_model
    from engine.models.scenes import classify

    if top < 1:
        raise OptionError(f"{top} classes cannot be told", remedy="Give a number above 0.")
    loaded = load_model(model, device=choose_device(device).torch_device)
    options = AnalysisOptions(bands=band_numbers(bands))
    for image in images:
        picture = read_picture(image, loaded.card, most_px=_LARGEST_PICTURE_PX, options=options)
        scores = classify(loaded, torch.from_numpy(picture.stored), top)
        if as_json:
            print_json({"image": image, "classes": scores})
            continue
        for warning in picture.warnings:
            say_warning(warning)
        typer.echo(f"{image}: " + ", ".join(f"{entry.name} {entry.score:.1%}" for entry in scores))


def _numbers(part: str | None) -> tuple[int, ...] | None:
    if part is None:
        return None
    numbers = part.split(",")
    if len(numbers) != 4 or not all(number.strip().isdigit() for number in numbers):
        raise OptionError(f"--part {part!r} is no part of a scene", remedy="Give it as in --part 512,256,224,224.")
    return tuple(int(number) for number in numbers)


def _checkpoints(name: str) -> list[str]:
    folder = Path(name)
    if not folder.is_dir():
        return [name]
    found = sorted(str(path) for path in folder.glob("*.safetensors"))
    if not found:
        raise ModelNotFoundError(
            "the folder holds no checkpoint",
            where=folder,
            remedy="Train with --set optimisation.checkpoint_every=1 and name the run's folder `epochs`.",
        )
    return found
