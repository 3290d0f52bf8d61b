"""Fixtures that several files of tests use; those of the whole session are expensive and not to be edited."""

import pytest
from checkout import Checkout
from l1c_products import CONSTANT_VIEWS, write_product


@pytest.fixture(scope="session")
def product(tmp_path_factory):
    """A Level-1C product that is complete and right; take a copy to spoil it."""
    return write_product(tmp_path_factory.mktemp("l1c"), views=CONSTANT_VIEWS)


@pytest.fixture(scope="session")
def processed(tmp_path_factory):
    """A checkout in which the demo has been processed, to look at."""
    result = Checkout(tmp_path_factory.mktemp("processed") / "project")
    result.snakemake()
    result.keep()
    return result


@pytest.fixture
def checkout(processed):
    """A checkout in which the demo has been processed, to edit: what a test changes is undone after it."""
    yield processed
    processed.restore()


@pytest.fixture(scope="session")
def processed_near(tmp_path_factory):
    """A checkout with the demo processed under settings by which a region does without the edges of the demo."""
    result = Checkout(tmp_path_factory.mktemp("processed") / "project")
    (result.folder / "near.yaml").write_text("reflectance: {adjacency_km: 1.5}\n")
    result.snakemake("--configfile near.yaml")
    result.keep()
    return result


@pytest.fixture
def checkout_near(processed_near):
    """The same to edit, as `checkout`."""
    yield processed_near
    processed_near.restore()
