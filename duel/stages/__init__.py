"""One story a stage. Each module is a command: its docstring is the help text, and `run` does the work.

    duel.stages.king.run(workspace, settings)                 also inside a running event loop, as in a notebook
    await duel.stages.king.run_async(workspace, settings)     those that ask models can be awaited

The stages: prompt, king, challenger, audit, validate, report, and `whole`, which runs them in order; export, mine and
scale. `run` takes a workspace and settings, and the options of its command line by name; it keeps no state between
calls, and returns a `Result`. What the user must change is raised as one of `duel.errors`.
"""

import pkgutil
from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name in {module.name for module in pkgutil.iter_modules(__path__)}:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
