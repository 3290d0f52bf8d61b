"""The one exception a user is meant to see."""


class StepError(Exception):
    """Bad input or a full disk: one line that names the file and the remedy.

    `steps.core.cli.cli` prints it without a traceback and ends the process with exit code 2.
    """

    @property
    def line(self) -> str:
        """The message in one line, whatever a library has put into it."""
        return " ".join(str(self).split())
