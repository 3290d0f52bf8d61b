"""Measure the tables of docs/proof that tests make: `python docs/measure.py`, eight minutes.

Into `docs/measured/tests` goes what tests record that they compare (`record_property`), of all cases of each the lowest
and the highest, and how many cases of faults are tried and passed.
"""

import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from lxml import etree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from steps.benchmark.stamp import write_stamp  # noqa: E402

FOLDER = ROOT / "docs/measured/tests"
#: File and test to what is compared.
TESTS = {
    "test_atmosphere_solver.py::test_rayleigh_atmosphere_has_the_published_reflectance": (
        "solver against the published reflectance of a Rayleigh atmosphere (Coulson; 6SV)"
    ),
    "test_atmosphere_solver.py::test_solver_agrees_with_sasktran2": (
        "solver against sasktran2, five wavelengths, AOT 0.2, 1.0 and 1.6"
    ),
    "test_atmosphere_band.py::test_table_agrees_with_the_solver_at_random_points": (
        "look-up tables against the solver, five aerosol models, random points, AOT to 1.5, sun zenith to 75 degrees"
    ),
    "test_atmosphere_band.py::test_water_vapour_of_6s_spectra_is_met": (
        "column of water vapour from spectra of 6S, S2A, S2B and S2C, ground at 0 to 3 km"
    ),
    "test_atmosphere_inversion.py::test_a_disc_in_other_surroundings_as_6s_sees_it": (
        "adjacency: discs in other surroundings, as 6S sees them"
    ),
    "test_surface.py::test_coefficients_in_steep_relief": (
        "coefficients of the inversion against every pixel by itself, relief of 2 km in a cell, AOT 0.05 to 1.5"
    ),
    "test_uncertainty.py::test_predicted_spread_is_that_of_1000_simulated_pixels": (
        "uncertainty layers against the spread of 1000 simulated pixels, each band"
    ),
    "test_simulation.py::test_with_the_true_air_the_inversion_is_nearly_exact": (
        "inversion of a simulated scene with its true air, AOT 0.3 (sasktran2, gas of 6S)"
    ),
    "test_scene_classification.py::test_reference_case": (
        "classes of Sen2Cor 2.8's rules, reference cases, both modes, no improvements: equal"
    ),
    "test_scene_classification.py::test_operational_classes_of_the_alps": (
        "classes of ESA's operational processor, Alps in summer: equal"
    ),
    "test_scene_classification.py::test_operational_classes_of_slovenia": (
        "classes of ESA's operational processor, Slovenia on three winter days: equal"
    ),
    "test_scene_classification_improved.py::test_real_shadows": (
        "cloud shadows in a real scene of Landsat 8 under a sheet of high clouds"
    ),
    "test_vapour_classes.py::test_clear_ground_is_no_cirrus_and_snow_is_snow": (
        "clear ground and snow under 0.2 to 4 g/cm2 of vapour on the slant way, both modes"
    ),
    "test_shore.py::test_water_is_found_up_to_its_shore": (
        "water and its shore, pixels of known shares, clear and flood water"
    ),
}


#: Faults that are tried, and the files of the tests that do.
FAULTS = {
    "files that do not fit their checksum, truncated images, members twice in a zip, bombs": (
        "test_l1c",
        "test_import",
    ),
    "implausible metadata: angles, ozone, offsets, names that do not agree": ("test_validation",),
    "elevation with gaps, other units, other rasters in its folder, wrong systems of coordinates": ("test_dem_kinds",),
    "killed runs, damaged files between the stages, look-up tables and kernels, two runs at once, changed inputs": (
        "test_survival",
    ),
    "settings that are mistyped or no numbers, paths with quotes, braces and control characters": (
        "test_settings",
        "test_workflow",
    ),
    "one bad product in a table": ("test_run_summary",),
    "a cluster whose jobs fail": ("test_cluster",),
    "servers that break off, send something else or nothing": ("test_remote",),
    "each interpreter that is found, with the constraints and with the newest versions": ("test_install",),
}


def run_tests(names: Iterable[str]) -> list:
    """Run tests and return their cases as JUnit's XML has them."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", *(f"tests/{name}" for name in names), f"--junitxml={report}"]
        subprocess.run(command, cwd=ROOT, check=True)
        return etree.parse(report).findall(".//testcase")


def file_of(case) -> str:
    """Return the name of the file of a test, without its ending."""
    return case.get("classname").rpartition(".")[2]


def write_table(name: str, head: Iterable[str], rows: Iterable[Iterable]) -> None:
    """Write a table into the folder, when all of its rows are there."""
    rows = list(rows)
    with (FOLDER / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def figures() -> Iterator[tuple]:
    """Yield the rows of what is compared."""
    values: dict[tuple[str, str], list[float]] = {}
    for case in run_tests(TESTS):
        name = f"{file_of(case)}.py::{case.get('name').partition('[')[0]}"
        for found in case.iter("property"):
            values.setdefault((name, found.get("name")), []).append(float(found.get("value")))
    for name, what in TESTS.items():
        for (test, quantity), found in values.items():
            if test == name:
                yield name, what, quantity, f"{min(found):.3g}", f"{max(found):.3g}", len(found)


def faults() -> Iterator[tuple]:
    """Yield the rows of what is tried."""
    cases = run_tests(f"{name}.py" for names in FAULTS.values() for name in names)
    for what, names in FAULTS.items():
        of_kind = [case for case in cases if file_of(case) in names]
        passed = sum(len(case.findall("skipped")) == 0 for case in of_kind)
        yield what, " ".join(f"tests/{name}.py" for name in names), len(of_kind), passed


def main() -> None:
    """Run the tests and write the tables."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_table("figures.csv", ("test", "what", "quantity", "lowest", "highest", "cases"), figures())
    write_table("faults.csv", ("what", "tests", "cases", "passed"), faults())
    write_stamp(FOLDER / "stamp.json", "python docs/measure.py")


if __name__ == "__main__":
    main()
