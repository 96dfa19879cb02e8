"""The option --import: modules of the user's own, which register what a command is to know."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from rdonet_jax.cli.errors import CommandError, cause_of
from rdonet_jax.cli.files.file_result import FilePath, FileResult, Work
from rdonet_jax.cli.options.command_parser import add_import_option
from rdonet_jax.cli.program import Parser
from rdonet_jax.core import messages
from rdonet_jax.models.library import ModelLibrary

SUFFIX = ".py"
"""What a name ends with that is a file rather than a module."""


def import_named(arguments: Sequence[str], program: str) -> None:
    """Imports the modules that a command line names.

    For a command whose other options depend on what is registered. Raises as `import_all` does.
    """
    parser = Parser(prog=program, add_help=False)
    add_import_option(parser)
    import_all(parser.parse_known_args(arguments)[0].imports)


def import_all(names: Sequence[str]) -> None:
    """Imports modules, each once. Names are looked up in the current folder after all others.

    Raises `CommandError` for a module that is not there or whose import fails.
    """
    for name in names:
        try:
            _import(name)
        except Exception as error:  # of any kind, since it is the user's code
            raise CommandError(f"--import {name}: {_cause(error, name)}") from error


def _import(name: str) -> None:
    path = Path(name).resolve(strict=True) if name.endswith(SUFFIX) else None
    folder = os.getcwd() if path is None else str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    module = importlib.import_module(name if path is None else path.stem)
    if path is not None and Path(getattr(module, "__file__", None) or "").resolve() != path:
        raise ImportError(f"another module is called {path.stem}, so the file needs another name")


def _cause(error: Exception, name: str) -> str:
    """One sentence about an import that failed, with the line of the user's code if it is there."""
    if isinstance(error, ModuleNotFoundError) and error.name == name:
        return "there is no such module among the installed ones and in this folder"
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    if isinstance(error, OSError) and error.filename:
        return str(error.strerror)
    said = f"{type(error).__name__}: {messages.first_line(error)}"
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename != __file__ and "importlib" not in frame.filename:
            return f"{frame.filename}:{frame.lineno}: {said}"
    return cause_of(error)


def in_workers(names: Sequence[str], work: Work) -> Work:
    """Work that begins with the imports, for a process that has not made them."""
    return functools.partial(_after_imports, tuple(names), work) if names else work


def _after_imports(
    names: Sequence[str],
    work: Work,
    source: FilePath,
    target: FilePath,
    library: ModelLibrary,
    show_progress: bool,
) -> FileResult:
    import_all(names)
    return work(source, target, library, show_progress)
