"""The short form of `python -m tests.stress.interruptions`."""

from __future__ import annotations

import signal

import pytest

from tests.stress import interruptions

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs the signals of POSIX"),
]

QUICK = ("compress", "decompress", "streams", "many")
"""Commands that load no JAX."""

COUNTS = [6, pytest.param(60, marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return interruptions.Workspace(tmp_path_factory.mktemp("interrupted"), QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
def test_a_signal_at_a_random_moment_leaves_old_or_new_files_and_a_documented_code(
    workspace, count
):
    for number in range(count):
        moment = interruptions.moment(1, number, QUICK)
        _, err, complaints = workspace.interrupted(moment)
        assert not complaints, (moment, err)


def test_a_traceback_is_forgiven_only_before_the_package_begins():
    end = "\nKeyboardInterrupt\n"
    assert interruptions.is_by_python('File "<frozen site>", line 1, in <module>' + end)
    path = interruptions.ROOT / "rdonet_jax" / "cli" / "main.py"
    assert not interruptions.is_by_python(f'File "{path}", line 1, in <module>{end}')
    assert not interruptions.is_by_python("rdonet: interrupted\n")


def test_a_moment_is_a_pure_function_of_seed_and_number():
    commands = tuple(interruptions.COMMANDS)
    assert interruptions.moment(3, 5, commands) == interruptions.moment(3, 5, commands)
    drawn = [interruptions.moment(3, number, commands) for number in range(60)]
    assert {moment.command for moment in drawn} == set(commands)
    assert {moment.signal for moment in drawn} == set(interruptions.SIGNALS)
    assert min(moment.share for moment in drawn) < 0.1 < 0.9 < max(m.share for m in drawn)
