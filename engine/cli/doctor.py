"""``rs-engine doctor``: versions, device, data paths, models and folders; what is missing and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.cli.console import print_json

_MARKS = {"ok": ("ok", "green"), "warn": ("look", "yellow"), "fail": ("MISSING", "red")}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("doctor")(doctor_command)


def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all findings.")] = False,
) -> None:
    """Check the installation; exits with 1 where something that is needed is missing."""
    from engine.cli.checks import all_checks

    checks = list(all_checks())
    failed = [check for check in checks if check.status == "fail"]
    if as_json:
        print_json({"healthy": not failed, "checks": checks})
    else:
        for check in checks:
            word, color = _MARKS[check.status]
            typer.echo(f"{typer.style(f'{word:<8}', fg=color)}{check.name:<22}{check.detail}")
            if check.remedy:
                typer.echo(f"{'':<30}-> {check.remedy}")
        wrong = sum(check.status != "ok" for check in checks)
        typer.echo("Everything is there." if not wrong else f"{wrong} of {len(checks)} checks have something to say.")
    if failed:
        raise typer.Exit(1)
