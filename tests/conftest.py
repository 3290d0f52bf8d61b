"""Fixtures that several files of tests use; those of the whole session are expensive and not to be edited."""

import fcntl
import os
import shutil

import pytest
from checkout import Checkout
from l1c_products import CONSTANT_VIEWS, write_product


@pytest.fixture(scope="session")
def product(tmp_path_factory):
    """A Level-1C product that is complete and right; take a copy to spoil it."""
    return write_product(tmp_path_factory.mktemp("l1c"), views=CONSTANT_VIEWS)


def made_once(tmp_path_factory, name, make):
    """Return a folder that the first worker to want it makes, by a call of `make`; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = base / name, base / f"{name}.made"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """A checkout in which the demo has been processed, to copy."""
    return made_once(tmp_path_factory, "kept", lambda folder: Checkout(folder).snakemake())


@pytest.fixture(scope="session")
def processed(kept, tmp_path_factory):
    """A checkout in which the demo has been processed, to look at."""
    return Checkout(tmp_path_factory.mktemp("processed") / "project", kept)


@pytest.fixture
def checkout(processed):
    """A checkout in which the demo has been processed, to edit: what a test changes is undone after it."""
    yield processed
    processed.restore()


@pytest.fixture(scope="session")
def processed_near(kept, tmp_path_factory):
    """A checkout with the demo processed under settings by which a region does without the edges of the demo."""

    def make(folder):
        checkout = Checkout(folder, kept)
        (folder / "near.yaml").write_text("reflectance: {adjacency_km: 1.5}\n")
        checkout.snakemake("--configfile near.yaml")

    folder = made_once(tmp_path_factory, "kept_near", make)
    return Checkout(tmp_path_factory.mktemp("processed") / "project", folder)


@pytest.fixture
def checkout_near(processed_near):
    """The same to edit, as `checkout`."""
    yield processed_near
    processed_near.restore()
