"""The recipes of CONTRIBUTING.md, followed with a dummy of each kind: what is added lies in one or two places."""

import json
import re
import shlex
import shutil

import pytest
from checkout import Checkout
from l1c_products import NAME, write_product

from steps.core.settings import checked
from steps.l1c import formats
from steps.l1c.metadata import read_l1c
from steps.l1c.safe import Safe
from steps.sentinel2 import satellites


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "checkout").mkdir()
    return Checkout(tmp_path / "checkout")


def commands(checkout, arguments=""):
    """Return the words of each stage's command that a run would give."""
    plan = checkout.dry_run(f"{arguments} --printshellcmds").stdout
    return [shlex.split(line) for line in re.findall(r"^Shell command: (python -m .*)$", plan, re.M)]


@pytest.mark.slow
def test_a_setting_is_a_declaration_and_a_parameter(checkout):
    checkout.edit(
        "workflow/schemas/config.schema.yaml",
        "      aot550:\n",
        "      haze:\n        type: number\n        default: 0.5\n        description: A dummy.\n      aot550:\n",
    )
    checkout.edit(
        "workflow/rules/atmosphere.smk",
        '        aot550=config["aerosol"]["aot550"],\n',
        '        aot550=config["aerosol"]["aot550"],\n        haze=config["aerosol"]["haze"],\n',
    )
    aerosol = next(words for words in commands(checkout, "aerosol='{haze: 0.25}'") if words[2] == "steps.aerosol")
    assert aerosol[aerosol.index("--haze") + 1] == "0.25"


@pytest.mark.slow
def test_an_aerosol_model_is_a_data_file(checkout):
    data = checkout.folder / "steps/atmosphere/data"
    model = json.loads((data / "aerosol_urban.json").read_text())
    (data / "aerosol_dummy.json").write_text(json.dumps(model))
    words = commands(checkout, f"cache={checkout.folder}/cache aerosol='{{model: dummy}}'")
    table = next(command for command in words if command[2] == "steps.look_up_table")
    assert table[table.index("--aerosol") + 1] == "dummy"
    done = checkout.dry_run("aerosol='{model: smog}'", check=False)
    assert re.search(r"^ERROR: aerosol.model: 'smog' is unknown; choose one of auto, .*dummy", done.stderr, re.M)


def test_a_satellite_is_a_line(monkeypatch, tmp_path):
    """Or none: products of one that is not in the list are read, since they bring their responses."""
    product = write_product(tmp_path)
    for path in product.rglob("*.xml"):
        path.write_text(path.read_text().replace("Sentinel-2A", "Sentinel-2E").replace("S2A_", "S2E_"))
    assert read_l1c(Safe(product), 331).scene.satellite == "S2E"
    assert satellites.satellite("S2E").designator == ""
    monkeypatch.setitem(satellites.SATELLITES, "S2E", satellites.Satellite("2030-001A"))
    assert satellites.satellite("S2E").designator == "2030-001A"


def test_a_form_of_input_is_a_reader(monkeypatch, tmp_path):
    class Box(Safe):
        """A product in a file that is a zip under another name."""

        @staticmethod
        def recognises(path):
            return path.suffix == ".box"

        def __init__(self, path, checksums="ignore"):
            shutil.unpack_archive(path, tmp_path / "unpacked", "zip")
            super().__init__(next((tmp_path / "unpacked").iterdir()), checksums)

    product, box = write_product(tmp_path), tmp_path / "product.box"
    shutil.move(shutil.make_archive(str(tmp_path / "product"), "zip", tmp_path, product.name), box)
    monkeypatch.setattr(formats, "READERS", [Box, *formats.READERS])
    assert formats.product_name(box) == NAME
    assert read_l1c(formats.open_product(box), 331).scene.product == NAME


@pytest.mark.slow
def test_a_format_of_output_is_a_rule_and_its_last_file(checkout):
    checkout.edit("workflow/schemas/config.schema.yaml", "enum: [safe, cog, zarr]", "enum: [safe, cog, zarr, text]")
    cog = '            "cog": self.kept("cog/item.json"),\n'
    checkout.edit("steps/l2a/places.py", cog, cog + '            "text": self.kept("a.txt"),\n')
    with (checkout.folder / "workflow/rules/product.smk").open("a") as rules:
        rules.write(
            "\n\nrule write_text:\n    input:\n        aot=final('aerosol/aot_20m.tif'),\n"
            "    output:\n        text=PLACES.formats['text'],\n    log:\n        kept('logs/write_text.log'),\n"
            "    shell:\n        command('write_text')\n"
        )
    (checkout.folder / "steps/write_text.py").write_text('"""Stage: a dummy."""\n')
    words = next(words for words in commands(checkout, "formats=text") if words[2] == "steps.write_text")
    assert [word for word in words if word.startswith("--")] == ["--aot", "--text", "--threads", "--log"]
    assert not any(command[2] == "steps.write_safe" for command in commands(checkout, "formats=text"))


def test_settings_that_are_added_are_checked_as_others_are():
    schema = {"properties": {"haze": {"type": "number", "default": 0.5}, "output": {"type": "string", "default": "x"}}}
    assert checked({"haze": "0.25"}, schema)["haze"] == 0.25
