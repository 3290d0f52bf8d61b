"""The workflow as a part of another project's: `module:` with `prefix:`."""

import json
import re

import pytest
from checkout import Checkout, region_of_interest, write_hills

from steps.sentinel2.names import l2a_name
from steps.simulation.demo_scene import DEMO_PRODUCT

SNAKEFILE = """
module sen2flow:
    snakefile: "{snakefile}"
    config: {config}
    prefix: "pre fix"

use rule * from sen2flow as sen2flow_*

rule mine:
    default_target: True
    input:
        rules.sen2flow_all.input
    output:
        "mine.txt"
    shell:
        "ls {{input:q}} > {{output}}"
"""


class Project(Checkout):
    """Another project, with a Snakefile of its own."""

    def __init__(self, folder, **config):
        (folder / "sen2flow").mkdir(parents=True)
        self.checkout = Checkout(folder / "sen2flow")
        self.folder = folder / "project"
        self.folder.mkdir()
        snakefile = self.checkout.folder / "workflow/Snakefile"
        (self.folder / "Snakefile").write_text(SNAKEFILE.format(snakefile=snakefile, config=config))

    @property
    def environment(self):
        return {name: value for name, value in super().environment.items() if name != "PYTHONPATH"}

    def dry_run(self, arguments="", settings="", check=True):
        return super().dry_run(arguments, settings, check)


def files(folder):
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return {str(path) for path in paths if path.parts[0] != ".snakemake" and "__pycache__" not in path.parts}


@pytest.mark.slow
def test_everything_lies_under_the_prefix(tmp_path):
    """Every stage of a region with terrain and uncertainty; what the user gives is where the user says."""
    project = Project(
        tmp_path,
        input="demo",
        output="l2a",
        dem="hills.tif",
        roi=region_of_interest(),
        boa_uncertainty=True,
        reflectance={"adjacency_km": 1.5},
    )
    write_hills(project.folder / "hills.tif")
    given, checkout = files(project.folder), files(project.checkout.folder)
    project.bash("snakemake --cores 2")
    assert files(project.checkout.folder) == checkout
    made = files(project.folder) - given - {"mine.txt", "pre fix"}
    assert {name for name in made if not name.startswith("pre fix/l2a")} == set()
    product = project.folder / "pre fix/l2a" / l2a_name(DEMO_PRODUCT)
    assert json.loads((product / "report/quality.json").read_text())["terrain_corrected"]
    assert (product / "cog/item.json").exists()
    assert product.with_suffix(".SAFE").is_dir()
    logs = {path.stem for path in (product / "logs").glob("*.log")}
    assert {"crop", "terrain_correction", "uncertainty", "write_safe", "publish_cog", "quicklook"} <= logs
    assert not re.search(r"^rule", project.dry_run("--quiet progress").stdout, re.M)


@pytest.mark.slow
def test_the_users_files_stay_where_they_are(tmp_path):
    """And no option of a command names a path of the workflow without the prefix."""
    project = Project(tmp_path, input="demo", output="l2a", dem="hills.tif", roi=region_of_interest())
    write_hills(project.folder / "hills.tif")
    plan = project.dry_run("--printshellcmds").stdout
    commands = re.findall(r"^Shell command: (python -m steps\..*)$", plan, re.M)
    assert len(commands) > 12
    assert any(" --dem hills.tif " in command for command in commands)
    for command in commands:
        assert re.search(r"'pre fix/l2a/", command)
        assert not re.search(r"(?<!pre fix/)\bl2a/", command)


@pytest.mark.slow
def test_stages_of_another_project_are_not_taken_for_ours(tmp_path):
    project = Project(tmp_path)
    (project.folder / "steps").mkdir()
    (project.folder / "steps/__init__.py").touch()
    done = project.bash("snakemake --cores 2 --dry-run", check=False)
    assert done.returncode == 2
    assert re.search(r"^ERROR: .*project/steps/__init__.py: would be taken for the stages", done.stderr, re.M)


@pytest.mark.slow
def test_needs_no_configuration(tmp_path):
    project = Project(tmp_path)
    text = (project.folder / "Snakefile").read_text()
    (project.folder / "Snakefile").write_text(text.replace("    config: {}\n", ""))
    plan = project.dry_run().stdout
    assert f"pre fix/results/{l2a_name(DEMO_PRODUCT)}/report/quality.json" in plan
