"""Kernels that are compiled ahead of time: what they are compiled for, and that others find them."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steps.core import processor
from steps.core.errors import StepError
from steps.core.signatures import decoded, encoded, kernels_of, recorded

ROOT = Path(__file__).resolve().parents[1]
MODULE = "steps.sentinel2.digital_numbers"
COMPILE = f"from steps.compile_kernels import compile_module; print(compile_module({MODULE!r}))"
USE = """
import os
import numpy as np
from steps.sentinel2.digital_numbers import internal_scale, _internal_scale
dn = np.full((2, 2), 2000, "u2")
value = internal_scale(dn, nodata=0, saturated=9, offset=-1000.0, quantification=1e4, size=20)[0][0, 0]
print(value, sum(_internal_scale.stats.cache_hits.values()), os.environ.get("NUMBA_CPU_NAME"))
"""


def python(code, checkout, cache):
    env = os.environ | {"SEN2FLOW_CACHE": str(cache), "PYTHONPATH": str(checkout)}
    env = {name: value for name, value in env.items() if not name.startswith("NUMBA_CPU")}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)


def test_recorded_signatures_are_of_kernels_that_exist():
    for module, functions in recorded().items():
        kernels = kernels_of(module)
        for name, signatures in functions.items():
            assert name in kernels, (module, name)
            for signature in signatures:
                assert [encoded(decoded(kind)) for kind in signature] == signature


@pytest.fixture
def host(monkeypatch):
    """What a processor of level 3 says of itself."""
    features = dict.fromkeys((*processor._FEATURES["x86-64-v3"], "aes"), True) | {"avx512f": False}
    monkeypatch.setattr(processor, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return features


def test_a_folder_is_for_its_level_or_for_this_processor(tmp_path, host, caplog):
    def chosen(level, given=()):
        processor.choose_level(tmp_path, level)
        environment = dict(given)
        processor.set_processor(tmp_path, environment)
        return environment

    assert chosen("this") == {}
    v3 = chosen("x86-64-v3")
    assert v3["NUMBA_CPU_NAME"] == "x86-64-v3"
    assert "+avx2" in v3["NUMBA_CPU_FEATURES"].split(",")
    assert not caplog.messages
    assert chosen("x86-64-v4") == {}
    assert "x86-64-v4, and this processor is below that: they are compiled anew" in caplog.text
    assert chosen("x86-64-v3", {"NUMBA_CPU_NAME": "generic"}) == {"NUMBA_CPU_NAME": "generic"}
    with pytest.raises(StepError, match="processor aarch64: cannot be compiled for on x86_64"):
        processor.choose_level(tmp_path, "aarch64")


def test_a_level_needs_all_of_its_features(tmp_path, host):
    processor.choose_level(tmp_path, "x86-64-v3")
    del host["fma"]
    environment = {}
    processor.set_processor(tmp_path, environment)
    assert environment == {}


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="a level of x86-64")
def test_another_checkout_and_a_read_only_folder_compile_nothing(tmp_path):
    cache = tmp_path / "cache"
    processor.choose_level(cache / "numba", "x86-64-v2")
    assert int(python(COMPILE, ROOT, cache).stdout) > 0
    other = tmp_path / "other"
    shutil.copytree(ROOT / "steps", other / "steps", ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(path.name for path in (cache / "numba").iterdir())
    (cache / "numba").chmod(0o555)
    done = python(USE, other, cache)
    (cache / "numba").chmod(0o755)
    assert done.stdout.split() == ["2000", "1", "x86-64-v2"]
    assert done.stderr == ""
    assert sorted(path.name for path in (cache / "numba").iterdir()) == before
