"""The plan of many tiles a day, by a simulation of a day, and by what must hold."""

import heapq
from dataclasses import replace

import numpy as np
import pytest

from steps.benchmark.plan import Site, Tile, breaks_first, main, plan


def amount(needs, what):
    return next(need.amount for need in needs if need.what.startswith(what))


def test_so_many_jobs_at_a_time_keep_up_with_a_day_of_tiles():
    """Tiles come all day at random; a few jobs more keep the queue short, a few fewer let it grow all day."""
    site = Site(tiles=20_000, failed=0)
    needs = plan(Tile(), site)
    jobs, wall = amount(needs, "jobs at a time"), amount(needs, "wall time")

    def last_wait(count):
        arrivals = np.sort(np.random.default_rng(1).uniform(0, 86400, int(site.tiles)))
        free, wait = [0.0] * count, 0.0
        for arrival in arrivals:
            start = max(arrival, heapq.heappop(free))
            heapq.heappush(free, start + wall)
            wait = start - arrival
        return wait

    assert last_wait(round(1.1 * jobs)) < 600
    assert last_wait(round(0.9 * jobs)) > 5000


def test_needs_grow_with_tiles_and_what_is_made():
    few, many = (plan(Tile(), Site(tiles=tiles)) for tiles in (1000, 10_000))
    for one, other in zip(few, many, strict=True):
        assert other.amount == pytest.approx(one.amount * (1 if one.what.startswith(("CPU", "wall")) else 10))
    both = plan(Tile(), Site(), safe=True)
    assert amount(both, "CPU") - amount(plan(Tile(), Site()), "CPU") == Tile().cpu_safe
    assert amount(both, "store for") == pytest.approx(10_000 * 30 * 2.0e-3)


def test_what_breaks_first_is_what_has_least_room():
    assert breaks_first(plan(Tile(), Site(archive=1e6))).what == "fetched from the archive"
    assert breaks_first(plan(Tile(), Site(archive=1e12, store=1e6))).what == "written to the store"
    assert breaks_first(plan(Tile(), replace(Site(), archive=1e12, store=1e12, queue=0.01))).what.startswith(
        "jobs started"
    )


def test_the_command_tells_it(capsys):
    main(["--tiles", "10000", "--safes", "--cpu-safe", "200"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == ["374", "s"]
    assert lines[-1] == "Not enough: fetched from the archive."
