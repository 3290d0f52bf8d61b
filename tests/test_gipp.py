"""Sen2Cor's settings as ours: every parameter of L2A_GIPP.xml, and config/SEN2COR.md in step with the table of them.

`python tests/test_gipp.py > config/SEN2COR.md` writes that file anew.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_config import SCHEMA, keys

from steps.atmosphere.models import AEROSOL_MODELS
from steps.core.gipp import PARAMETERS, aot550_of_visibility
from steps.core.settings import checked
from steps.core.translate_gipp import main

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "config/SEN2COR.md"
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}
#: All parameters, with a value that Sen2Cor 2.8 to 2.12 come with and one that they do not.
PARAMETERS_OF_SEN2COR = {
    "Log_Level": ("INFO", "DEBUG"),
    "row0": ("OFF", "5490"),
    "col0": ("OFF", "5490"),
    "nrow_win": ("1200", "600"),
    "ncol_win": ("1200", "600"),
    "Product_DOI": ("https://doi.org/10.5270/S2_-znk9xsj", "https://doi.org/10.1000/182"),
    "Nr_Threads": ("AUTO", "4"),
    "Product_Generator": ("NONE", "/opt/generator"),
    "DEM_Directory": ("NONE", "/data/dem"),
    "DEM_Reference": ("NONE", "CDSE-GLO-30"),
    "Generate_DEM_Output": ("FALSE", "TRUE"),
    "Force_Exit_On_DEM_Error": ("TRUE", "FALSE"),
    "Generate_TCI_Output": ("TRUE", "FALSE"),
    "Generate_DDV_Output": ("FALSE", "TRUE"),
    "Handle_L1C_QLT_Mask": ("FALSE", "TRUE"),
    "Downsample_20_to_60": ("TRUE", "FALSE"),
    "PSD_Version": ("DEFAULT", "14.9"),
    "GIPP_Scheme": ("L2A_GIPP", None),
    "SC_Scheme": ("L2A_CAL_SC_GIPP", None),
    "AC_Scheme": ("L2A_CAL_AC_GIPP", None),
    "PB_Scheme": ("L2A_PB_GIPP", None),
    "QI_Scheme": ("L2A_QUALITY", None),
    "Median_Filter": ("0", "3"),
    "Aerosol_Type": ("RURAL", "MARITIME"),
    "Mid_Latitude": ("SUMMER", "WINTER"),
    "Ozone_Content": ("331", "370"),
    "WV_Correction": ("1", "0"),
    "VIS_Update_Mode": ("1", "0"),
    "WV_Watermask": ("1", "2"),
    "Cirrus_Correction": ("FALSE", "TRUE"),
    "DEM_Terrain_Correction": ("TRUE", "FALSE"),
    "BRDF_Correction": ("0", "21"),
    "BRDF_Lower_Bound": ("0.22", "0.2"),
    "Adj_Km": ("1.000", "2.0"),
    "Visibility": ("40.0", "23.0"),
    "Altitude": ("0.100", "0.5"),
    "Smooth_WV_Map": ("100.0", "200.0"),
    "WV_Threshold_Cirrus": ("0.25", "0.5"),
    "Database_Compression_Level": ("0", "5"),
}

HEAD = """# From Sen2Cor's settings

<!-- not run: the file is an example; tests/test_gipp.py translates some -->
```bash
python -m steps.core.translate_gipp L2A_GIPP.xml > mine.yaml
snakemake --cores 8 --configfile mine.yaml --config input=... output=...
```

The first command prints the configuration that a `L2A_GIPP.xml` of Sen2Cor 2.8 to 2.12 is equal to, and tells in a
line each what has no equal, or one that differs. Only what is set away from Sen2Cor's default is translated: what was
left at it was not chosen, and Sen2Flow's own default takes its place, which is another one for the aerosol model,
adjacency and altitude. To have Sen2Cor's, give the setting of this table. What the settings mean:
[README.md](README.md).

Thresholds and constants of `L2A_CAL_SC_GIPP.xml` and `L2A_CAL_AC_GIPP.xml` have no equals: those of the classification
are facts of its rules, and the atmospheric correction is another one. `L2A_PB_GIPP.xml` sets a baseline, of which
Sen2Flow has its own.

| parameter | Sen2Cor's default | allowed | setting | conversion, or why there is no equal |
|---|---|---|---|---|
"""


def allowed(parameter):
    if parameter.words:
        return ", ".join(f"`{word}`" for word in parameter.words)
    return "{} to {}".format(*parameter.allowed) if parameter.allowed else ""


def guide():
    """Return config/SEN2COR.md."""
    ours = {name: entry["default"] for name, entry in keys(SCHEMA)}
    rows = []
    for p in PARAMETERS:
        defaults = ", ".join(f"`{default}`" for default in p.defaults)
        settings = ", ".join(f"`{name}` ({yaml.safe_dump(ours[name]).splitlines()[0]})" for name in p.settings)
        note = f" {p.note[0].upper()}{p.note[1:]}." if p.note else ""
        rows.append(f"| `{p.name}` | {defaults} | {allowed(p)} | {settings or '-'} | {p.text}{note} |\n")
    return HEAD + "".join(rows) + "\nIn parentheses: Sen2Flow's default.\n"


def write_gipp(folder, **values):
    """Write a file of settings of Sen2Cor, in its form, with some parameters set, and return its path."""
    values = {name: default for name, (default, _) in PARAMETERS_OF_SEN2COR.items()} | values

    def elements(*names):
        return "".join(f"<{name}>{values.get(name, '')}</{name}>" for name in names)

    names = list(values)
    common, rest = names[: names.index("Median_Filter")], names[names.index("Aerosol_Type") :]
    flags, calibration = rest.index("WV_Correction"), rest.index("Adj_Km")
    scheme = "<PSD_Scheme PSD_Version='{}'><UP_Scheme_1C>S2_User_Product</UP_Scheme_1C></PSD_Scheme>"
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
        <Level-2A_Ground_Image_Processing_Parameter xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
         xsi:noNamespaceSchemaLocation="L2A_GIPP.xsd"><Common_Section>
        <Region_Of_Interest>{elements(*common[1:5])}</Region_Of_Interest>{elements(common[0], *common[5:])}
        {scheme.format("14.2")}{scheme.format("15.0")}</Common_Section>
        <Scene_Classification><Filters>{elements("Median_Filter")}<!-- a comment --></Filters>
        </Scene_Classification><Atmospheric_Correction>
        <Look_Up_Tables>{elements(*rest[:flags])}</Look_Up_Tables><Flags>{elements(*rest[flags:calibration])}</Flags>
        <Calibration>{elements(*rest[calibration:])}</Calibration></Atmospheric_Correction>
        </Level-2A_Ground_Image_Processing_Parameter>"""
    path = folder / "L2A_GIPP.xml"
    path.write_text(text)
    return path


@pytest.fixture
def translated(tmp_path, capsys):
    """Return the configuration and the lines that a file with some parameters set leads to."""

    def run(**values):
        main([str(write_gipp(tmp_path, **values))])
        result = capsys.readouterr()
        return yaml.safe_load(result.out), result.err.splitlines()

    return run


def test_guide_is_in_step_with_the_table():
    assert FILE.read_text() == guide()


def test_table_has_every_parameter():
    assert set(BY_NAME) == set(PARAMETERS_OF_SEN2COR) | {"PSD_Scheme"}
    known = {name for name, _ in keys(SCHEMA)}
    for parameter in PARAMETERS:
        assert set(parameter.settings) <= known
        assert parameter.text.endswith(".")


def test_settings_as_they_come_with_sen2cor_change_nothing(translated):
    assert translated() == ({}, [])
    assert translated(Ozone_Content="0", Force_Exit_On_DEM_Error="true", Altitude="0.1") == ({}, [])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"Generate_DEM_Output": "TRUE"}, {"layers": ["elevation"]}),
        (
            {"Generate_DEM_Output": "TRUE", "Generate_DDV_Output": "TRUE"},
            {"layers": ["elevation", "dark_vegetation"]},
        ),
        ({"Median_Filter": "3"}, {"classification": {"median_filter": 3}}),
        ({"Aerosol_Type": "MARITIME"}, {"aerosol": {"model": "maritime"}}),
        ({"Aerosol_Type": "AUTO"}, {"aerosol": {"model": "auto"}}),
        ({"Ozone_Content": "370"}, {"ozone": 370}),
        ({"WV_Correction": "0"}, {"water_vapour": {"method": "fixed", "column": 1.0}}),
        ({"WV_Correction": "0", "Mid_Latitude": "WINTER"}, {"water_vapour": {"method": "fixed", "column": 0.4}}),
        ({"DEM_Terrain_Correction": "FALSE"}, {"terrain": {"correction": "never"}}),
        ({"Adj_Km": "2.5"}, {"reflectance": {"adjacency_km": 2.5}}),
        ({"Adj_Km": "0"}, {"reflectance": {"adjacency": False}}),
        ({"Altitude": "0.512"}, {"altitude": 512}),
        # AOT of 23 km at .7 km; of 40 km, Sen2Cor's default, at .1 km
        (
            {"VIS_Update_Mode": "0", "Visibility": "23", "Altitude": "0.7"},
            {"altitude": 700, "aerosol": {"method": "fixed", "aot550": pytest.approx(0.289, abs=5e-4)}},
        ),
        ({"VIS_Update_Mode": "0"}, {"aerosol": {"method": "fixed", "aot550": pytest.approx(0.198, abs=2e-3)}}),
        ({"Handle_L1C_QLT_Mask": "TRUE"}, {}),
    ],
)
def test_parameters_become_settings(translated, values, expected):
    settings, lines = translated(**values)
    assert settings == expected
    assert not [line for line in lines if "no equal" in line or "not translated" in line]


def test_visibility_is_that_of_sen2cor():
    """Thicknesses that its look-up tables have: their total less 0.1283 of Rayleigh scattering and ozone."""
    for visibility, total in {5: 1.31589, 7: 1.01929, 10: 0.785337, 23: 0.450916, 40: 0.329422, 120: 0.207020}.items():
        assert aot550_of_visibility(visibility, 0) == pytest.approx(total - 0.1283, abs=1.5e-3)
    for elevation, thickness in {0.7: 0.584, 1.5: 0.498, 2.5: 0.395}.items():
        assert aot550_of_visibility(10, elevation) == pytest.approx(thickness, abs=5e-4)


@pytest.mark.parametrize("name", [name for name, (_, other) in PARAMETERS_OF_SEN2COR.items() if other])
def test_every_parameter_set_is_translated_or_told(translated, name):
    value = PARAMETERS_OF_SEN2COR[name][1]
    settings, lines = translated(**{name: value})
    assert settings or lines or name == "Handle_L1C_QLT_Mask"
    assert len(lines) <= 1
    if not settings and lines:
        assert lines[0].startswith(f"WARNING: {name} {value}: n")
        assert lines[0].endswith(BY_NAME[name].text)


@pytest.mark.slow
@pytest.mark.parametrize("name", [parameter.name for parameter in PARAMETERS if parameter.convert])
def test_schema_takes_whatever_sen2cor_does(tmp_path, translated, name):
    parameter, dem = BY_NAME[name], tmp_path / "a folder: of tiles"
    dem.mkdir()
    for value in parameter.allowed or [str(dem)]:
        for extreme in ({}, {"Visibility": "5", "Altitude": "2.5"}, {"Visibility": "120", "Mid_Latitude": "AUTO"}):
            modes = {"WV_Correction": "0", "VIS_Update_Mode": "0"}
            settings, _ = translated(**modes | extreme | {name: value})
            result = checked(settings, SCHEMA)
            assert result["aerosol"]["model"] in ("auto", *AEROSOL_MODELS)
            if name == "DEM_Directory":
                assert result["dem"] == str(dem)


def test_elevation_model_in_the_folder_of_sen2cor(tmp_path, capsys):
    (tmp_path / "cfg").mkdir()
    path = write_gipp(tmp_path / "cfg", DEM_Directory="dem/srtm")
    main([str(path)])
    result = capsys.readouterr()
    assert yaml.safe_load(result.out) == {}
    assert "DEM_Directory dem/srtm: not translated" in result.err
    (tmp_path / "dem/srtm").mkdir(parents=True)
    main([str(path)])
    assert yaml.safe_load(capsys.readouterr().out) == {"dem": str(tmp_path / "dem/srtm")}


def test_unknown_parameter_is_told(tmp_path, capsys):
    path = write_gipp(tmp_path)
    path.write_text(path.read_text().replace("</Calibration>", "<DEM_Unit>0</DEM_Unit></Calibration>"))
    main([str(path)])
    assert "WARNING: DEM_Unit: no equal" in capsys.readouterr().err


ROOT_ELEMENT = "Level-2A_Ground_Image_Processing_Parameter"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("adjacency: 1\n", "is not valid XML"),
        ("", "is not valid XML"),
        ("<Level-2A_User_Product/>", "holds no settings of Sen2Cor but <Level-2A_User_Product>"),
        (f"<{ROOT_ELEMENT}><T1_WATER>0.5</T1_WATER></{ROOT_ELEMENT}>", "has none of the parameters"),
        (f"<{ROOT_ELEMENT}><Adj_Km>1</Adj_Km><Adj_Km>2</Adj_Km></{ROOT_ELEMENT}>", "Adj_Km is set twice"),
        (f"<{ROOT_ELEMENT}><Adj_Km>near</Adj_Km></{ROOT_ELEMENT}>", "Adj_Km 'near' is no number from 0 to 10"),
        (
            f"<{ROOT_ELEMENT}><Visibility>nan</Visibility></{ROOT_ELEMENT}>",
            "Visibility 'nan' is no number from 5 to 120",
        ),
        (f"<{ROOT_ELEMENT}><Median_Filter>2.5</Median_Filter></{ROOT_ELEMENT}>", "Median_Filter '2.5' is none of 0, 1"),
        (f"<{ROOT_ELEMENT}><DEM_Directory/></{ROOT_ELEMENT}>", "DEM_Directory is empty"),
        (f"<!DOCTYPE a [<!ENTITY b 'c'>]><{ROOT_ELEMENT}><Adj_Km>&b;</Adj_Km></{ROOT_ELEMENT}>", "document type"),
        (None, "No such file or directory"),
    ],
)
def test_what_is_no_gipp_is_refused_in_one_line(tmp_path, capsys, text, wrong):
    path = tmp_path / "L2A_GIPP.xml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as end:
        main([str(path)])
    result = capsys.readouterr()
    assert (end.value.code, result.out) == (2, "")
    assert result.err.startswith(f"ERROR: {path}: ")
    assert wrong in result.err
    assert result.err.count("\n") == 1


def test_command(tmp_path):
    path = write_gipp(tmp_path, Aerosol_Type="AUTO", Cirrus_Correction="TRUE", WV_Threshold_Cirrus="0.5")
    command = [sys.executable, "-m", "steps.core.translate_gipp", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert yaml.safe_load(done.stdout) == {"aerosol": {"model": "auto"}, "cirrus_correction": True}
    assert done.stderr.startswith("WARNING: WV_Threshold_Cirrus 0.5: no equal.")


if __name__ == "__main__":
    print(guide(), end="")  # noqa: T201
