"""Snakemake's command line in a process that has imported it before, which is half of the time of a dry run.

`run` returns what `subprocess.run` of the command would. Started by itself, the module is that process: it reads calls
as lines of JSON and forks for each of them.
"""

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def run(arguments, folder, environment):
    """Run `snakemake` with arguments in a folder, in an environment of variables."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "stdout"), Path(place, "stderr")
        call = {"arguments": arguments, "folder": folder, "environment": environment, "streams": [out, err]}
        process = _process()
        process.stdin.write(json.dumps(call, default=str) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        return subprocess.CompletedProcess(command, code, out.read_text(), err.read_text())


@functools.cache
def _process():
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-P", __file__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    atexit.register(process.stdin.close)
    return process


def _serve():
    import snakemake.cli

    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if not child:
            for path, number in zip(call["streams"], (1, 2), strict=True):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
            os.chdir(call["folder"])
            os.environ.clear()
            os.environ.update(call["environment"])
            sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
            sys.argv = ["snakemake", *call["arguments"]]
            snakemake.cli.main()  # ends the process
        status = os.waitpid(child, 0)[1]
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
