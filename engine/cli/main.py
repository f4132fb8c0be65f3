"""``rs-engine``: puts the commands together and turns errors into a sentence and an exit code.

Guarantees: no command's libraries are imported before it runs, so ``--help`` answers at once; a person sees a
traceback only with ``--debug``; exit codes are 0 done, 1 a fault of the program or of the installation, 2 an error
that another input or option avoids, 130 cancelled.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from engine.cli import (
    analyse,
    benchmark,
    change,
    convert,
    doctor,
    export,
    info,
    models,
    quadtree,
    quadtree_examples,
    tokens,
    training,
)
from engine.cli.console import route_warnings, say, say_error
from engine.environment import drop_foreign_paths
from engine.errors import EngineError

_DEBUG = "--debug"


def build_app() -> typer.Typer:
    """The program with all its commands."""
    app = typer.Typer(
        name="rs-engine",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Satellite scenes in, land cover and semantic regions out, as GIS files.",
    )
    app.callback()(_program)
    scenes = info, models, analyse, change, export, quadtree, quadtree_examples
    for part in (*scenes, doctor, convert, training, tokens, benchmark):
        part.register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program with these arguments (those of the process where None) and exit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = _DEBUG in words
    words = [word for word in words if word != _DEBUG]  # it may stand anywhere
    route_warnings(debug)
    if not debug:
        logging.getLogger("rasterio").setLevel(logging.CRITICAL)
        logging.getLogger("pyogrio").setLevel(logging.CRITICAL)
    for foreign in drop_foreign_paths():
        say(f"{foreign.variable}={foreign.path} belongs to another program and is not used in this run.")
    try:
        build_app()(args=words, prog_name="rs-engine")
    except EngineError as error:
        if debug:
            raise
        say_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away, as `head` does
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split())
        say(f"A fault of the program, please report it: {type(error).__name__}: {text}. {_DEBUG} shows where.")
        sys.exit(1)


def _program(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and leave.")] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"rs-engine {version_of('rs-viewer')}")
        raise typer.Exit


if __name__ == "__main__":
    main()
