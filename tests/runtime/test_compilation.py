"""How functions are compiled: with which options."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.runtime import compilation, parallel
from tests.conftest import ROOT

pytestmark = pytest.mark.optimized

ROWS = 32769
"""With so many, YNNPACK as of JAX 0.10.2 computes one sum wrongly."""


def squares(matrix, rows):
    return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    """A matrix and rows."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((n, 3)).astype(np.float32) for n in (3, ROWS))


def assert_squares(found, matrix, rows) -> None:
    """To the roundings of five additions and four products, each of 2**-24."""
    matrix, rows = matrix.astype(np.float64), rows.astype(np.float64)
    products = rows @ matrix.T
    largest = (np.abs(rows) @ np.abs(matrix.T)) ** 2  # what products may have lost by cancelling
    error = np.abs(np.asarray(found) - (products**2).sum(axis=1))
    assert np.all(error <= 10 * 2**-24 * largest.sum(axis=1))


def in_parallel(kind: str):
    def run(m, x):
        return parallel.over_devices(squares, kind, in_axes=(None, 0))(m, x[None])[0]

    return run


WAYS = {
    "jit": lambda: compilation.jit(squares),
    "jit with static arguments": lambda: (
        lambda m, x: compilation.jit(lambda f, *v: f(*v), static_argnums=0)(squares, m, x)
    ),
    "jit, quick": lambda: compilation.jit(squares, quick=True),
    "jit, lowered": lambda: lambda *v: compilation.jit(squares).lower(*v).compile()(*v),
    "jit of a jitted function": lambda: compilation.jit(compilation.jit(squares)),
    "jit of a function of plain JAX": lambda: compilation.jit(jax.jit(squares)),
    "fixed shapes": lambda: parallel.FixedShapes(jax.jit(squares)),
    "pmap": lambda: in_parallel("pmap"),
    "shard_map": lambda: in_parallel("shard_map"),
}


@pytest.mark.parametrize("way", WAYS)
def test_sums_that_ynnpack_gets_wrong_are_right(way, sample):
    if "map" in way and jax.local_device_count() > 1:
        pytest.skip("for one device")
    assert_squares(WAYS[way]()(*sample), *sample)


def test_a_jitted_function_is_compiled_once_for_each_shape():
    function = compilation.jit(lambda x, n: x * n, static_argnums=1)
    for size, factor in ((3, 2), (3, 2), (4, 2), (3, 5)):
        x = np.arange(size, dtype=np.float32)
        np.testing.assert_array_equal(function(x, factor), factor * x)
    assert function.cache_size() == 3


TRANSFORMATIONS = {
    "jit": lambda f: jax.jit(lambda x: f(x)),
    "grad": lambda f: lambda x: jax.grad(f)(x) + f(x),
    "grad of checkpoint": lambda f: lambda x: jax.grad(jax.checkpoint(f))(x) + f(x),
    "vmap": lambda f: lambda x: jax.vmap(f)(x[:, None]),
    "scan": lambda f: lambda x: jax.lax.map(f, x[:, None]),
    "jvp": lambda f: lambda x: jax.jvp(f, (x,), (x,))[1],
    "hessian": jax.hessian,
    "jit of grad": lambda f: jax.jit(jax.grad(f)),
    "jit without arguments": lambda f: lambda x: jax.jit(lambda: f(x))(),
    "shapes": lambda f: lambda x: jax.eval_shape(f, x).shape,
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_of_jax_take_a_jitted_function(name):
    def cubes(x):
        return jnp.sum(x**3)

    x = np.arange(1, 5, dtype=np.float32)
    found, expected = (TRANSFORMATIONS[name](f)(x) for f in (compilation.jit(cubes), cubes))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_jitted_function_donates_and_keeps_its_name():
    @compilation.jit
    def doubled(x):
        """Twice x."""
        return 2 * x

    assert (doubled.__name__, doubled.__doc__) == ("doubled", "Twice x.")
    x = jnp.arange(3.0)
    compilation.jit(lambda v: v + 1, donate_argnums=0)(x)
    assert x.is_deleted()


def options_of(function, monkeypatch):
    """The compiler options that JAX gets for a function of `compilation.jit`."""
    given = []
    with monkeypatch.context() as patch:
        patch.setattr(jax, "jit", lambda function, **how: given.append(how) or function)
        function(3)
    return given[0]["compiler_options"]


def test_quick_functions_are_compiled_with_fewer_optimizations(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    usual = compilation.options()
    # JAX 0.12 has no fusion emitters to leave out.
    quick = {
        name: value
        for name, value in compilation.QUICK_OPTIONS.items()
        if "emitters" not in name or compilation._is_supported(name, value)
    }
    assert options_of(compilation.jit(np.square), monkeypatch) == (usual or None)
    assert options_of(compilation.jit(np.square, quick=True), monkeypatch) == quick | usual


def test_the_environment_and_options_of_every_function_come_before_those_of_quick_ones(monkeypatch):
    level, emitters = compilation.QUICK_OPTIONS
    monkeypatch.setenv("XLA_FLAGS", f"--{level}=2")
    monkeypatch.setattr(compilation, "options", lambda: {emitters: True})
    assert options_of(compilation.jit(np.square, quick=True), monkeypatch) == {emitters: True}


def test_accelerators_get_no_options(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compilation.options() == {}
    assert options_of(compilation.jit(np.square, quick=True), monkeypatch) is None


def test_importing_the_package_starts_no_backend():
    script = (
        "from jax._src import xla_bridge\n"
        "from rdonet_jax import pillow_plugin\n"
        "from rdonet_jax.codec import codec\n"
        "from rdonet_jax.evaluation import estimate\n"
        "from rdonet_jax.rdo import cost\n"
        "from rdonet_jax.training import loop\n"
        "assert not xla_bridge._backends"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def compiles(tree: ast.AST) -> Iterator[str]:
    """What of JAX's own means of compiling a module names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("jit", "pmap", "shard_map"):
            if isinstance(node.value, ast.Name) and node.value.id == "compilation":
                continue
            yield ast.unparse(node)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("jax", "flax")):
            yield from (
                alias.name for alias in node.names if alias.name in ("jit", "pmap", "shard_map")
            )


def test_nothing_is_compiled_past_the_modules_that_say_how():
    folders = ("rdonet_jax", "benchmarks", "experiments", "examples")
    paths = [*ROOT.glob("*.py"), *(p for f in folders for p in (ROOT / f).rglob("*.py"))]
    assert len(paths) > 50
    found = {
        str(path): list(compiles(ast.parse(path.read_text())))
        for path in paths
        if path not in (Path(compilation.__file__), Path(parallel.__file__))
    }
    assert not {path: names for path, names in found.items() if names}
