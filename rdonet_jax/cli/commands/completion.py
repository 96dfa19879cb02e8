"""Completion of the command line for shells: scripts made from the parser, which start no Python.

bash completes words and files by a function, zsh by `_arguments`, fish by `complete`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from rdonet_jax.cli import lazy_commands
from rdonet_jax.cli.commands import models
from rdonet_jax.cli.options import grammar
from rdonet_jax.cli.options.arguments import whole_parser
from rdonet_jax.cli.options.grammar import Command, Option
from rdonet_jax.cli.output import say
from rdonet_jax.core.defaults import COMPRESSED_SUFFIX
from rdonet_jax.imaging.formats.writable import WRITABLE_FORMATS

Words = Mapping[tuple[str, str], Sequence[str]]
"""Values of options by the option's first flag and its metavar."""

WITH_COMPRESSED_FILES = ("decompress", "info", "thumbnail")
"""Commands whose files are compressed ones."""


def run(options: argparse.Namespace) -> None:
    """Prints the script of a shell."""
    from rdonet_jax.rdo.initial_masks import INITS  # loads NumPy

    suffixes = [suffix.removeprefix(".") for suffix in WRITABLE_FORMATS]
    words = {
        ("--model", "NAME"): models.names(),
        ("--init", "INIT"): list(INITS),
        ("--format", "SUFFIX"): suffixes,
    }
    say(script(whole_parser(), options.shell, words).rstrip("\n"))


def script(parser: argparse.ArgumentParser, shell: str, words: Words = MappingProxyType({})) -> str:
    """The script for a shell, one of `SHELLS`. `words` are values of options by flag and metavar,
    offered beside files."""
    commands = tuple(_with_words(command, words) for command in grammar.commands(parser))
    return SHELLS[shell](grammar.program(parser), commands)


def _with_words(command: Command, words: Words) -> Command:
    """The command, whose options complete these values too."""
    arguments = (
        a._replace(words=tuple(words.get((a.flags[0], a.metavar), ()))) if a.flags else a
        for a in command.arguments
    )
    return command._replace(arguments=tuple(arguments))


def _bash(program: Command, commands: tuple[Command, ...]) -> str:
    names = " ".join(command.name for command in commands)
    cases = "\n".join(_bash_case(f"_{program.name}", command) for command in commands)
    return f"""\
# bash completion for {program.name}

_{program.name}_add() {{  # what compgen finds with these arguments
    local word
    while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen "$@" -- "$current")
}}

_{program.name}_compressed() {{
    _{program.name}_add -f -X '!*{COMPRESSED_SUFFIX}'
    _{program.name}_add -d
}}

_{program.name}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    COMPREPLY=()
    if [[ $current == "=" ]]; then
        current=
    elif [[ $previous == "=" ]]; then
        previous=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    if [[ $COMP_CWORD -eq 1 ]]; then
        _{program.name}_add -W "{names} {_flags(program.options)}"
        return
    fi
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
}}

complete -o filenames -F _{program.name} {program.name}
"""


def _bash_case(name: str, command: Command) -> str:
    values = []
    for option in command.options:
        if option.value is None:
            continue
        if option.choices:
            action = f'{name}_add -W "{" ".join(option.choices)}"'
        else:
            kinds = {grammar.FILE: f"{name}_add -f", grammar.FOLDER: f"{name}_add -d"}
            action = kinds.get(option.value, ":")
        if option.words:
            action = f'{name}_add -W "{" ".join(option.words)}"; {action}'
        values.append(f"                {'|'.join(option.flags)}) {action}; return ;;")
    between = "\n".join(["            case $previous in", *values, "            esac\n"])
    files = f"{name}_compressed" if command.name in WITH_COMPRESSED_FILES else f"{name}_add -f"
    words = " ".join(_words(command))
    otherwise = f'{name}_add -W "{words}"' if words else files if _takes_files(command) else ":"
    return (
        f"        {command.name})\n{between if values else ''}"
        f'            if [[ $current == -* ]]; then {name}_add -W "{_flags(command.options)}"\n'
        f"            else {otherwise}\n"
        "            fi ;;"
    )


def _zsh(program: Command, commands: tuple[Command, ...]) -> str:
    described = "\n".join(
        f"        {shlex.quote(_zsh_text(c.name) + ':' + c.summary)}" for c in commands
    )
    cases = "\n".join(_zsh_case(command) for command in commands)
    own = " \\\n        ".join(_zsh_option(option) for option in program.options)
    return f"""\
#compdef {program.name}

_{program.name}() {{
    local -a commands
    commands=(
{described}
    )
    local context state line
    _arguments -C \\
        {own} \\
        '1: :->command' '*:: :->arguments'
    case $state in
        command) _describe command commands ;;
        arguments)
            case $words[1] in
{cases}
            esac ;;
    esac
}}

if [[ $funcstack[1] == _{program.name} ]]; then
    _{program.name} "$@"
else
    compdef _{program.name} {program.name}
fi
"""


def _zsh_case(command: Command) -> str:
    specs = [_zsh_option(option) for option in command.options]
    words = " ".join(_words(command))
    if words:
        specs.append(shlex.quote(f"*: :({words})"))
    elif _takes_files(command):
        specs.append(shlex.quote(f"*: :{_zsh_files(command)}"))
    body = " \\\n                    ".join(specs)
    return f"                {command.name})\n                    _arguments {body} ;;"


def _zsh_files(command: Command) -> str:
    compressed = command.name in WITH_COMPRESSED_FILES
    return f'_files -g "*{COMPRESSED_SUFFIX}(-.)"' if compressed else "_files"


def _zsh_option(option: Option) -> str:
    value = ""
    if option.value is not None:
        kinds = {grammar.FILE: "_files", grammar.FOLDER: "_files -/"}
        choices = f"({' '.join(option.choices)})" if option.choices else ""
        name = _zsh_text(option.metavar)
        action = kinds.get(option.value, " ")
        if option.words:
            action = f"{{compadd {' '.join(option.words)}; {action}}}"
        value = f":{name}:{choices or action}"
    specs = []
    for flag in option.flags:
        joined = "=" if value and flag.startswith("--") else ""  # --flag=value, or two words
        specs.append(shlex.quote(f"{flag}{joined}[{_zsh_text(option.help)}]{value}"))
    return " ".join(specs)


def _zsh_text(text: str) -> str:
    for special in "\\[]:":
        text = text.replace(special, "\\" + special)
    return text


def _fish(program: Command, commands: tuple[Command, ...]) -> str:
    name = program.name
    lines = [f"# fish completion for {name}", f"complete -c {name} -f"]
    first = "-n __fish_use_subcommand"
    for option in program.options:
        lines.append(_fish_option(name, first, option))
    for command in commands:
        words = f"-a {command.name} -d {_fish_text(command.summary)}"
        lines.append(f"complete -c {name} {first} {words}")
    for command in commands:
        where = f"-n '__fish_seen_subcommand_from {command.name}'"
        lines += [_fish_option(name, where, option) for option in command.options]
        words = " ".join(_words(command))
        if words:
            lines.append(f"complete -c {name} {where} -a {_fish_text(words)}")
        elif command.name in WITH_COMPRESSED_FILES:
            found = _fish_text(f"(__fish_complete_suffix {COMPRESSED_SUFFIX})")
            lines.append(f"complete -c {name} {where} -k -a {found}")
        elif _takes_files(command):
            lines.append(f"complete -c {name} {where} -F")
    return "\n".join(lines) + "\n"


def _fish_option(name: str, where: str, option: Option) -> str:
    parts = [f"complete -c {name} {where}"]
    for flag in option.flags:
        parts.append(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}")
    if option.choices:
        parts.append(f"-x -a {_fish_text(' '.join(option.choices))}")
    elif option.value is not None:
        kinds = {
            grammar.FILE: "-r -F",
            grammar.FOLDER: "-x -a '(__fish_complete_directories)'",
        }
        parts.append(kinds.get(option.value, "-x"))
        parts += [f"-a {_fish_text(' '.join(option.words))}"] if option.words else []
    parts.append(f"-d {_fish_text(option.help)}")
    return " ".join(parts)


def _fish_text(text: str) -> str:
    """In single quotes, in which fish knows two escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _flags(options: tuple[Option, ...]) -> str:
    return " ".join(flag for option in options for flag in option.flags)


def _words(command: Command) -> tuple[str, ...]:
    """What a command's positional arguments may be, where that is known."""
    return tuple(word for a in command.arguments if not a.flags for word in a.choices)


def _takes_files(command: Command) -> bool:
    """Whether it has files as arguments, or options of its own, most of which have files."""
    if command.name in lazy_commands.COMMANDS:
        return True
    return any(not a.flags and a.value == grammar.FILE for a in command.arguments)


SHELLS: dict[str, Callable[[Command, tuple[Command, ...]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
