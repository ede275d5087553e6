"""What there is to document, found in the tree: a new service needs no row here."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parents[2]


def services_with(file: str) -> list[str]:
    """Names of the services that have ``file``, sorted."""
    return sorted(path.parent.name for path in (ROOT / "services").glob(f"*/{file}"))


def service_module(service: str, name: str) -> ModuleType:
    """A module of a service, imported."""
    return importlib.import_module(f"services.{service}.{name}")


def settings_classes() -> list[type[BaseSettings]]:
    """The settings class of the gateway and of every service, the gateway first."""
    modules = [service_module(service, "settings") for service in services_with("settings.py")]
    if (ROOT / "gateway" / "settings.py").exists():
        modules.insert(0, importlib.import_module("gateway.settings"))
    return [settings_of(module) for module in modules]


def settings_of(module: ModuleType) -> type[BaseSettings]:
    """The one settings class that ``module`` defines. Raises LookupError if there are none or several."""
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, BaseSettings) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise LookupError(f"{module.__name__} must define one settings class, not {len(found)}")
    return found[0]
