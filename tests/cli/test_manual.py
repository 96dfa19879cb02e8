"""The manual page."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from rdonet_jax.cli.options import arguments, grammar
from tests.conftest import ROOT

COMMANDS = {command.name: command for command in grammar.commands(arguments.whole_parser())}


def test_the_manual_page_has_every_command_and_option(rdonet):
    page = rdonet("man").out
    words = page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
    for name, command in COMMANDS.items():
        assert f".SS {name}\n" in words
        for option in command.options:
            assert ", ".join(option.flags) in words
    assert "(default: 134217728)" in words and "%(" not in words


def test_the_manual_page_of_the_repository_is_todays(rdonet):
    page = (ROOT / "docs" / "rdonet.1").read_text()
    assert rdonet("man").out == page, "make man writes it anew"


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_groff_has_nothing_to_say_about_the_manual_page(rdonet):
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww"], input=rdonet("man").out, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "rdonet - learned image compression" in re.sub(r".\x08|\x1b\[\d*m", "", done.stdout)
