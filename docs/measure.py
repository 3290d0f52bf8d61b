"""Measure the figures of docs/proof/accuracy.md that tests print: `python docs/measure.py`, into `docs/measured/tests`.

Each of these tests records what it compares (`record_property`); the lowest and the highest of all its cases are kept.
"""

import csv
import subprocess
import sys
import tempfile
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
    "test_vapour_classes.py::test_clear_ground_is_no_cirrus_and_snow_is_snow": (
        "clear ground and snow under 0.2 to 4 g/cm2 of vapour on the slant way, both modes"
    ),
    "test_shore.py::test_water_is_found_up_to_its_shore": (
        "water and its shore, pixels of known shares, clear and flood water"
    ),
}


def main() -> None:
    """Run the tests and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", *(f"tests/{name}" for name in TESTS), f"--junitxml={report}"]
        subprocess.run(command, cwd=ROOT, check=True)
        cases = etree.parse(report).findall(".//testcase")
    values: dict[tuple[str, str], list[float]] = {}
    for case in cases:
        name = f"{case.get('classname').rpartition('.')[2]}.py::{case.get('name').partition('[')[0]}"
        for found in case.iter("property"):
            values.setdefault((name, found.get("name")), []).append(float(found.get("value")))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "figures.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("test", "what", "quantity", "lowest", "highest", "cases"))
        for name, what in TESTS.items():
            for (test, quantity), found in values.items():
                if test == name:
                    writer.writerow((name, what, quantity, f"{min(found):.3g}", f"{max(found):.3g}", len(found)))
    write_stamp(FOLDER / "stamp.json", "python docs/measure.py")


if __name__ == "__main__":
    main()
