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
    """A checkout in which the demo has been processed."""
    result = Checkout(tmp_path_factory.mktemp("processed") / "project")
    result.snakemake()
    return result


@pytest.fixture(scope="session")
def processed_near(tmp_path_factory):
    """A checkout with the demo processed under settings by which a region does without the edges of the demo."""
    result = Checkout(tmp_path_factory.mktemp("processed_near") / "project")
    (result.folder / "near.yaml").write_text("reflectance: {adjacency_km: 1.5}\n")
    result.snakemake("--configfile near.yaml")
    return result


@pytest.fixture
def checkout(processed, tmp_path):
    """A checkout of the test's own in which the demo has been processed."""
    return processed.copied(tmp_path / "project")


@pytest.fixture
def checkout_near(processed_near, tmp_path):
    """A checkout of the test's own, as `processed_near`."""
    return processed_near.copied(tmp_path / "project")
