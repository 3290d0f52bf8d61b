"""The command line that each step gets from its run function."""

import platform
import subprocess
import sys
import textwrap

import pytest

STEP = """
from pathlib import Path
from typing import Literal
from steps.core.cli import cli
from steps.core.errors import StepError

def run(out: Path, names: list[str], mode: Literal["a", "b"] = "a", limit: float | None = None,
        flag: bool = True, threads: int = 1) -> None:
    '''Do it.'''
    if mode == "b":
        raise StepError("image.jp2: broken\\nfetch it again")
    out.write_text(f"{names} {mode} {limit} {flag} {threads}")

if __name__ == "__main__":
    cli(run)
"""


@pytest.fixture
def step(tmp_path):
    (tmp_path / "made.py").write_text(textwrap.dedent(STEP))

    def call(*arguments):
        command = [sys.executable, "-m", "made", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return call


def test_arguments_follow_the_signature(step, tmp_path):
    out = tmp_path / "o.txt"
    done = step("--out", out, "--names", "x", "y", "--limit", "2", "--no-flag", "--threads", "3")
    assert done.returncode == 0
    assert out.read_text() == "['x', 'y'] a 2.0 False 3"


def test_step_error_is_one_line_and_exit_code_2(step, tmp_path):
    log = tmp_path / "log/made.log"
    done = step("--out", tmp_path / "o.txt", "--names", "x", "--mode", "b", "--log", log)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("image.jp2: broken fetch it again")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "image.jp2" in log.read_text()


def test_unwritable_output_names_the_remedy(step, tmp_path):
    (tmp_path / "file").touch()
    done = step("--out", tmp_path / "file/o.txt", "--names", "x")
    assert done.returncode == 2
    assert "file/o.txt" in done.stderr
    assert "check the path" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_is_the_docstring(step):
    assert "Do it." in step("--help").stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it tells glibc what to keep")
def test_memory_of_freed_arrays_is_kept():
    """By what the system is asked for: an array of 40 MB after another in the main thread, then in one of a pool."""
    code = """
import resource
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from steps.core.cli import keep_freed_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(40_000_000, "u1")
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
pages()
with ThreadPoolExecutor(1) as pool:
    print(pages(), pool.submit(pages).result())
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(int(count) < 10 for count in printed.split())
