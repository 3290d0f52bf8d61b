"""Configuration of Sphinx: `sphinx-build -W --keep-going -n docs docs/_build`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
# Kernels are documented as the Python functions that they are.
os.environ["NUMBA_DISABLE_JIT"] = "1"

import made  # noqa: E402
import mathml  # noqa: E402

from steps import __version__  # noqa: E402

# Names in docstrings are code.
default_role = "code"

project = "Sen2Flow"
copyright = "the Sen2Flow contributors, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "made/*.md", "measured"]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
# Words of a docstring that are the name of several objects; those of none are told all the same.
suppress_warnings = ["config.cache", "ref.python"]

autodoc_default_options = {"members": True, "member-order": "bysource", "ignore-module-all": True}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_preprocess_types = False
autodoc_typehints_format = "short"
# Inventories of other projects would have to be downloaded; names of types are no objects, nor is what is private.
nitpick_ignore_regex = [
    ("py:.*", r"(?!steps\.).*"),
    ("py:.*", r".*\._\w+"),
    ("py:class", "steps.core.documents.Document"),
]

html_theme = "pydata_sphinx_theme"
html_title = "Sen2Flow"
html_static_path = ["static"]
html_css_files = ["sen2flow.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
}
copybutton_selector = "div.highlight-bash pre, div.highlight-python pre, div.highlight-yaml pre, div.highlight-r pre"


#: Stands for a colon while Napoleon reads, which takes what a comment says before one for a type.
_COLON = "\ue000"


def _without_colons(app, what, name, obj, options, lines):
    if what in ("attribute", "data", "property"):
        lines[:] = [line.replace(":", _COLON) for line in lines]


def _with_colons(app, what, name, obj, options, lines):
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def setup(app):
    """Register the renderer of equations, and make what is made from code and measurements."""
    app.connect("autodoc-process-docstring", _without_colons, priority=400)
    app.connect("autodoc-process-docstring", _with_colons, priority=600)
    mathml.setup(app)
    app.connect("config-inited", lambda *_: made.write(HERE / "made"))
