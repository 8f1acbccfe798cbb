"""A registry of named builders, and the three ways a plug-in reaches it."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any

from utils.errors import UserError, nearest


class Registry:
    """Named builders of one kind, such as policies or optimizers.

    A builder is a class or function; the keyword arguments it names are its options. Facts given at registration
    describe the entry (its paper, its default rate) without building it.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._builders: dict[str, Callable[..., Any]] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator that enters a builder under `name`. A name already taken is a UserError."""

        def enter(builder: Callable[..., Any]) -> Callable[..., Any]:
            if name in self._builders:
                owner = self._builders[name].__module__
                raise UserError(f"{self.kind} '{name}' is already registered by {owner}; choose another name")
            self._builders[name] = builder
            self._facts[name] = facts
            return builder

        return enter

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._builders)

    def get(self, name: str) -> Any:
        """The builder registered under `name`; a UserError that names the nearest match where there is none."""
        if name not in self._builders:
            raise UserError(f"unknown {self.kind} '{name}'; {nearest(name, self._builders)}")
        return self._builders[name]

    def facts(self, name: str) -> dict[str, Any]:
        """What was said of `name` at its registration."""
        self.get(name)
        return dict(self._facts[name])

    def build(self, name: str, /, *args: Any, **options: Any) -> Any:
        """Call the builder. An option it does not know is a UserError that lists those it does."""
        builder = self.get(name)
        parameters = inspect.signature(builder).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            for option in options:
                if option not in parameters:
                    raise UserError(f"{self.kind} '{name}' has no option '{option}'; {nearest(option, parameters)}")
        return builder(*args, **options)


def import_siblings(package: str, path: Iterable[str], skip: Iterable[str] = ()) -> None:
    """Import every module of a package's folder, so that a file dropped into it registers itself.

    A module that fails to import is a UserError that names its file.
    """
    for module in sorted(pkgutil.iter_modules(path), key=lambda m: m.name):
        if module.name not in skip and not module.name.startswith("_"):
            import_plugin(f"{package}.{module.name}")


def import_plugin(module: str) -> None:
    """Import one plug-in module by its dotted name. Any failure is a UserError that names the plug-in."""
    try:
        importlib.import_module(module)
    except Exception as error:
        raise UserError(f"plug-in '{module}' failed to import: {type(error).__name__}: {error}") from error


def load_entry_points(group: str) -> None:
    """Load what installed packages offer under an entry-point `group`, such as `anneal.schedulers`."""
    for point in importlib.metadata.entry_points(group=group):
        try:
            point.load()
        except Exception as error:
            what = f"plug-in '{point.name}' ({point.value}, entry point of {group})"
            raise UserError(f"{what} failed to import: {type(error).__name__}: {error}") from error
