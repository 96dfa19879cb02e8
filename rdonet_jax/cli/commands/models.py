"""Models for the commands: loading one, and the list of the bundled ones."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rdonet_jax.cli.errors import explained
from rdonet_jax.cli.output import errors_as_json, say
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.runtime.platform import PlatformError

if TYPE_CHECKING:
    from rdonet_jax.models.zoo import Model


def run(options: argparse.Namespace) -> None:
    """Prints the list of models, as lines for people or of JSON."""
    with errors_as_json(options.json, {}):
        if not options.json:
            say(listing())
            return
        for model in facts():
            say(json.dumps(model))


@contextlib.contextmanager
def explained_models() -> Iterator[None]:
    """What keeps a model from being loaded becomes a `CommandError`."""
    from rdonet_jax.models import zoo

    with explained(zoo.ZooError, PlatformError):
        yield


def load(library: ModelLibrary, name: str) -> Model:
    """The bundled model of this name, or the one of this weights file. Raises `CommandError`."""
    with explained_models():
        return library.load(name)


def names() -> list[str]:
    """The names of the bundled models. Raises `CommandError`."""
    from rdonet_jax.models import zoo

    with explained_models():
        return list(zoo.bundled())


def facts() -> list[dict[str, Any]]:
    """The bundled models and the earlier ones, for programs. Raises `CommandError`."""
    from rdonet_jax.cli.commands import describe
    from rdonet_jax.models import zoo

    library = ModelLibrary()
    with explained_models():
        names, earlier = zoo.bundled(), zoo.earlier()
    return [
        {
            "name": name,
            "is_default": name == DEFAULT_MODEL,
            "is_earlier": name in earlier,
            "purpose": "" if name in earlier else zoo.PURPOSES.get(name, ""),
            **describe.facts_of_model(load(library, name)),
        }
        for name in [*names, *earlier]
    ]


def listing() -> str:
    """The bundled models and the earlier ones, in lines for people. Raises `CommandError`."""
    from rdonet_jax.cli.commands import describe
    from rdonet_jax.models import zoo

    library = ModelLibrary()
    lines: list[str] = []
    with explained_models():
        names = zoo.bundled()
        earlier = zoo.earlier()
    for name in names:
        title = f"{name} (default)" if name == DEFAULT_MODEL else name
        first, *rest = describe.of_model(load(library, name))
        purpose = [f"  {zoo.PURPOSES[name]}"] if name in zoo.PURPOSES else []
        lines += [f"{title}: {first}", *purpose, *rest]
    if earlier:
        lines.append(f"of earlier releases, for files made with them: {', '.join(earlier)}")
    return "\n".join(lines) or "no models are bundled with this installation"
