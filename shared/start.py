"""Starting one of our processes: the module is named, and imported here."""

from __future__ import annotations

import gc
import importlib


def start(module: str) -> None:
    """Import a module and call its ``main``.

    Imports make hundreds of thousands of objects and no garbage. To look for it takes an eighth of what they take.
    """
    gc.disable()
    main = importlib.import_module(module).main
    gc.freeze()
    gc.enable()
    main()
