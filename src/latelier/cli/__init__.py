"""The verbs: open, stream, call a task, write; no arithmetic.

Starting must be quick, so in this folder, and only here, what is slow (torch, pandas, everything that computes) is
imported inside the functions that use it; at the top of these files stand only the parser and plain Python.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError, UnusedCliTokensError

from latelier.cli.demonstration import demo
from latelier.cli.detecting import detect
from latelier.cli.draw import grid, interpolate, sample, traverse
from latelier.cli.examining import dissect, doctor
from latelier.cli.figures import encode, predict, score
from latelier.cli.fitting import fit
from latelier.cli.look import evaluate, report, show
from latelier.cli.refitting import refit
from latelier.cli.rows import augment, denoise, impute, reconstruct
from latelier.errors import BadInput, NewCategories

# A new verb is one function in one of this folder's files, and one line here. Its first line of docstring is its help.
VERBS: dict[str, Callable[..., None]] = {
    "fit": fit,
    "show": show,
    "evaluate": evaluate,
    "report": report,
    "refit": refit,
    "doctor": doctor,
    "dissect": dissect,
    "sample": sample,
    "interpolate": interpolate,
    "traverse": traverse,
    "grid": grid,
    "encode": encode,
    "score": score,
    "predict": predict,
    "detect": detect,
    "reconstruct": reconstruct,
    "impute": impute,
    "denoise": denoise,
    "augment": augment,
    "demo": demo,
}

app = App(
    name="latelier",
    help="Train a variational autoencoder on pictures or a table, then sample, score, impute, and more.",
    help_epilogue="Begin with: latelier demo images",
    version=lambda: version("latelier"),
    default_parameter=Parameter(negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for place, (verb, function) in enumerate(VERBS.items()):
    app.command(function, name=verb, sort_key=place)

OK, FAILED, BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141  # the last two as shells count signals


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit status: 0, 2 after bad input, 130 after Ctrl-C, 1 after a bug."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or bool(os.environ.get("LATELIER_DEBUG"))
    try:
        with _notes():
            app([word for word in words if word != "--debug"], exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return OK
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else OK
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED, prefix="")
    except BrokenPipeError:
        # Whoever read our output has left, as head does. What is still buffered goes nowhere, without a complaint at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:  # noqa: BLE001 - the one place where whatever went wrong becomes a line
        if debug:
            traceback.print_exception(error)
        return complain(*explain(error))


def explain(error: Exception) -> tuple[str, int]:
    """What to tell the user of an error, and the exit status."""
    if isinstance(error, UnusedCliTokensError):
        return f"not understood: {' '.join(error.unused_tokens or ())} {_see(error)}", BAD_INPUT
    if isinstance(error, CycloptsError):
        return f"{error} {_see(error)}", BAD_INPUT
    if isinstance(error, BadInput):
        return str(error), BAD_INPUT
    text = str(error)
    if (
        isinstance(error, MemoryError)
        or "allocate memory" in text
        or "not enough memory" in text
        or "out of memory" in text
    ):
        return "not enough memory; try a smaller --batch, a smaller --size, or fewer --draws", BAD_INPUT
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file'}: {error.strerror.lower()}; check the path and its permissions", BAD_INPUT
    cause = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"this is a bug, please report it with what --debug prints ({cause})", FAILED


def complain(text: str, status: int, prefix: str = "error: ") -> int:
    """One line on stderr, whatever the text holds."""
    print(prefix + " ".join(text.split()), file=sys.stderr)
    return status


@contextmanager
def _notes() -> Iterator[None]:
    """What was done to the user's rows as was asked for is told in a line on stderr; other warnings go their way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NewCategories)
        try:
            yield
        finally:
            notes = [str(found.message) for found in caught if issubclass(found.category, NewCategories)]
            for note in dict.fromkeys(notes):
                print(f"note: {note}", file=sys.stderr)
    for found in caught:
        if not issubclass(found.category, NewCategories):
            warnings.warn_explicit(found.message, found.category, found.filename, found.lineno)


def _see(error: CycloptsError) -> str:
    return f"(see latelier {' '.join((*(error.command_chain or ()), '--help'))})"
