"""`python -m steps.kernels --done FILE` compiles every kernel once, before many processes would each compile it."""

import importlib
import pkgutil
from pathlib import Path

import steps.kernels
from steps.cli import cli


def run(done: Path) -> None:
    """Compile every kernel into Numba's cache and create the empty file DONE."""
    for module in pkgutil.iter_modules(steps.kernels.__path__):
        if module.name != "__main__":
            importlib.import_module(f"steps.kernels.{module.name}")
    done.parent.mkdir(parents=True, exist_ok=True)
    done.touch()


if __name__ == "__main__":
    cli(run)
