"""Sen2Flow as a wheel installs it: the whole project as one package, in whose folder `steps` is found.

In the wheel this file is `sen2flow/__init__.py`, beside the Snakefile.
"""

import sys
from pathlib import Path


def main() -> None:
    """Run the command `sen2flow`."""
    sys.path.insert(0, str(Path(__file__).parent))
    from steps.command.__main__ import main as command

    command()
