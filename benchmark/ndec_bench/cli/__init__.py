"""The command line: it parses, calls the library and prints. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import typer

from ndec_bench.cli import (
    baselines,
    cite,
    console,
    data,
    download,
    gallery,
    index,
    match,
    mini,
    options,
    pack,
    postprocess,
    reproduce,
    run_baseline,
    score,
    site,
    submit,
    threshold,
    train,
)
from ndec_bench.errors import DataError, InterruptedRun, NdecBenchError, UsageError, reason
from ndec_bench.printable import escaped, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EPILOG = (
    "Exit codes: 0 done, 2 wrong use, 3 bad submission, 4 bad or missing data, 5 network, 6 interrupted. "
    "Results go to stdout (with --json as JSON alone), progress and messages to stderr."
)

# Typer carries its own copy of click from 0.20 on and the public click before; its errors are reached the same way.
_WrongUse = cast("type[Any]", typer.BadParameter.__bases__[0])

# What torch raises where the memory of the machine or of a GPU is too small.
_OUT_OF_MEMORY = re.compile("can't allocate memory|out of memory|can't start new thread")

# What Typer makes of Ctrl-C inside a command; ours is documented as 6.
_TYPER_INTERRUPTED = 130

app = typer.Typer(
    name="ndec-bench",
    help="Benchmark harness and leaderboard for practical image copy detection (NDEC).",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        from ndec_bench import __version__

        console.out(f"ndec-bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """Benchmark harness and leaderboard for practical image copy detection (NDEC)."""


for command in (
    mini,
    download,
    data,
    baselines,
    postprocess,
    pack,
    match,
    train,
    run_baseline,
    score,
    cite,
    threshold,
    index,
    submit,
    reproduce,
    site,
    gallery,
):
    command.register(app)


def main() -> None:
    """Run the command line and end the process with its documented exit code."""
    try:
        with console.standard_streams():
            code = run(sys.argv[1:])
    except NdecBenchError as error:
        code = console.report_error(error, as_json=False)
    if code == InterruptedRun.exit_code:
        # Where Ctrl-C came while Python compiled text, as for a dataclass, it would end by the signal, not by the code.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Return the exit code of the command line given as ``arguments``; print results and errors as documented."""
    as_json = "--json" in arguments
    if arguments[:1] in (["score"], ["validate"], ["pack"], ["match"]):
        arguments = options.spread(arguments)
    try:
        _check_text(arguments)
        _check_repeated(arguments)
        with _sigterm_as_ctrl_c():
            code = app(arguments, prog_name="ndec-bench", standalone_mode=False)
    except _WrongUse as error:
        return _wrong_use(error, as_json=as_json)
    except (NdecBenchError, OSError, MemoryError, ImportError, typer.Abort, KeyboardInterrupt) as error:
        return console.report_error(_for_users(error), as_json=as_json)
    except RuntimeError as error:
        if not _OUT_OF_MEMORY.search(str(error)):
            raise
        return console.report_error(_for_users(MemoryError(one_line(str(error), 120))), as_json=as_json)
    except SystemExit as error:
        if not isinstance(error.__context__, OSError):
            raise
        # What click makes of any broken pipe, also of one to a worker process.
        return console.report_error(_for_users(error.__context__), as_json=as_json)
    if code == _TYPER_INTERRUPTED:
        return console.report_error(_for_users(KeyboardInterrupt()), as_json=as_json)
    return code if isinstance(code, int) else 0


def _check_text(arguments: Sequence[str]) -> None:
    """Raise UsageError if an argument is not text in the encoding of the system: no record could hold it."""
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= sign <= "\udfff" for sign in argument):
            raise UsageError(
                f"{escaped(argument)} is not text in the encoding of this system",
                hint="give another name, or rename the file or folder",
            )


def _check_repeated(arguments: Sequence[str]) -> None:
    """Raise UsageError if an option of one value is given twice: the parser would take the last, and lose the first."""
    command: Any = typer.main.get_command(app)
    names = iter(arguments)
    while hasattr(command, "commands") and (name := next(names, None)) in command.commands:
        command = command.commands[name]
    once = {
        spelling: option.opts[0]
        for option in command.params
        if option.param_type_name == "option" and not (option.multiple or option.count or option.is_flag)
        for spelling in option.opts
    }
    end = arguments.index("--") if "--" in arguments else len(arguments)
    given = Counter(once.get(argument.partition("=")[0]) for argument in arguments[:end])
    for option, times in given.items():
        if option is not None and times > 1:
            raise UsageError(f"{option} is given {times} times", hint="it takes one value: give it once")


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, which schedulers send, end a command as Ctrl-C does: files are closed, the exit code is 6."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _for_users(error: BaseException) -> NdecBenchError:
    """Return what ended a command, as an error for users."""
    if isinstance(error, NdecBenchError):
        return error
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return DataError(f"{where}{reason(error)}", hint="check the path, its permissions and the disk")
    if isinstance(error, ImportError):
        missing = isinstance(error, ModuleNotFoundError)
        why = "is not installed" if missing else f"cannot be loaded ({one_line(str(error), 200)})"
        return UsageError(
            f"the package {error.name} {why}",
            hint='install it, in a clone of the repository: python -m pip install ".[baselines]"',
        )
    if isinstance(error, MemoryError):
        what = f" ({error})" if str(error) else ""
        return DataError(f"not enough memory{what}", hint="end other programs, or use a larger machine")
    return InterruptedRun("stopped; nothing half-written was left", hint="run the same command again to go on")


def _wrong_use(error: Any, *, as_json: bool) -> int:  # noqa: ANN401 -- click's own class, reached through typer
    if as_json:
        return console.report_error(UsageError(error.format_message()), as_json=True)
    error.show()
    return UsageError.exit_code
