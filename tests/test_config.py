"""The configuration: every key described, with a default, and config/README.md in step with the schema.

`python tests/test_config.py > config/README.md` writes the README anew.
"""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())

HEAD = """# Configuration

Give a key on the command line (`--config input=/data/S2A_MSIL1C_....SAFE output=/data/l2a`) or in a file of your own
(`--configfile mine.yaml`). A key of a section has its section around it:
`--config aerosol='{method: fixed, aot550: 0.1}'` (Snakemake takes no dots in names). A list may be one word,
`formats=cog` or `formats=safe,cog`. A key that is not in this table is refused, with the one that may be meant. Several
products: a table as [products.csv](products.csv).

| key | default | allowed | meaning |
|---|---|---|---|
"""


def keys(schema, prefix=""):
    """Yield every leaf key of a schema with its name."""
    for name, entry in schema["properties"].items():
        if "properties" in entry:
            yield from keys(entry, f"{prefix}{name}.")
        else:
            yield prefix + name, entry


def allowed(entry):
    values = entry.get("enum") or entry.get("items", {}).get("enum")
    if values:
        return ", ".join(f"`{v}`" for v in values)
    kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    text = " or ".join(kinds)
    low, high = entry.get("minimum", entry.get("exclusiveMinimum")), entry.get("maximum")
    return text if low is None else f"{text}, {low} to {high}"


def readme():
    rows = (f"| `{k}` | `{json.dumps(e['default'])}` | {allowed(e)} | {e['description']} |" for k, e in keys(SCHEMA))
    return HEAD + "\n".join(rows) + "\n"


def test_every_key_has_a_description_and_a_default():
    lacking = [k for k, e in keys(SCHEMA) if not e.get("description") or "default" not in e]
    assert not lacking


def test_readme_is_in_step_with_the_schema():
    assert (ROOT / "config/README.md").read_text() == readme()


if __name__ == "__main__":
    print(readme(), end="")  # noqa: T201
