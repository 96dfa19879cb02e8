"""Completion of the command line for shells."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from rdonet_jax.cli import lazy_commands
from rdonet_jax.cli.commands import completion
from rdonet_jax.cli.options import arguments, grammar

COMMANDS = {command.name: command for command in grammar.commands(arguments.whole_parser())}


@pytest.fixture
def completed(rdonet, bundle):
    """What bash offers for a line, at its end."""
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    Path("completion.sh").write_text(rdonet("completion", "bash").out)

    def run(line: str) -> list[str]:
        words = line.replace("=", " = ").split()  # as bash takes "=" for a word of its own
        words += [""] if line[-1] == " " else []
        script = (
            f"source completion.sh; COMP_WORDS=({shlex.join(words)}); "
            f"COMP_CWORD={len(words) - 1}; _rdonet; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True
        )
        assert not done.stderr
        return done.stdout.splitlines()

    return run


def test_bash_completes_commands_options_and_choices(completed):
    assert set(completed("rdonet ")) >= set(COMMANDS)
    assert completed("rdonet decom") == ["decompress"]
    for name, command in COMMANDS.items():
        flags = [flag for option in command.options for flag in option.flags]
        assert completed(f"rdonet {name} -") == flags
    assert completed("rdonet compress --coder ") == ["constriction", "tfc"]
    assert completed("rdonet compress --coder=t") == ["tfc"]
    assert completed("rdonet compress --coder=") == ["constriction", "tfc"]
    assert completed("rdonet completion z") == ["zsh"]


def test_bash_completes_the_files_that_a_command_takes(completed):
    Path("two words.rdo").write_bytes(b"")
    Path("below").mkdir()
    assert sorted(completed("rdonet decompress ")) == ["b.rdo", "below", "two words.rdo"]
    assert "a.png" in completed("rdonet compress ")
    assert completed("rdonet compress a.png --out-dir ") == ["below"]
    assert completed("rdonet compress --quality ") == [""]
    assert completed("rdonet models ") == [""]
    assert completed("rdonet train --data ") == completed("rdonet compress ")
    assert sorted(completed("rdonet eval --results b")) == ["b.rdo", "below"]
    assert completed("rdonet data pack be") == ["below"]


def test_bash_completes_the_bundled_models_and_files(rdonet, bundle, completed):
    assert completed("rdonet compress --model ") == [
        "standard",
        "tiny",
        *completed("rdonet compress "),
    ]
    assert completed("rdonet compress --model=st") == ["standard"]


def test_bash_completes_the_names_of_masks_and_formats(completed):
    masks = ["static", "uniform", "uniform-16", "uniform-32", "uniform-64", "variance"]
    found = completed("rdonet compress --init ")
    assert sorted(found[: len(masks)]) == masks and "a.png" in found[len(masks) :]
    assert completed("rdonet decompress --format ti") == ["tif", "tiff"]
    assert completed("rdonet decompress --suffix=we") == ["webp"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_shell_gets_every_option_and_takes_the_script(rdonet, shell):
    script = rdonet("completion", shell).out
    for name, command in COMMANDS.items():
        assert name in script
        for flag in (flag for option in command.options for flag in option.flags):
            dashes, word = ("-l", flag[2:]) if flag[:2] == "--" else ("-s", flag[1:])
            assert (f" {dashes} {word} " if shell == "fish" else flag) in script
    for name in lazy_commands.COMMANDS:
        files = {
            "bash": f"        {name})\n            if [[ $current == -* ]]; then _rdonet_add -W "
            '"-h --help"\n            else _rdonet_add -f\n',
            "zsh": f"{name})\n                    _arguments '-h[show this help message and exit]' "
            "'--help[show this help message and exit]' \\\n                    '*: :_files'",
            "fish": f"complete -c rdonet -n '__fish_seen_subcommand_from {name}' -F",
        }
        assert files[shell] in script
    if shutil.which(shell):
        Path("script").write_text(script)
        done = subprocess.run([shell, "-n", "script"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
