"""Equations as MathML, which browsers draw themselves: no script, no other host, no LaTeX."""

import html

from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.logging import getLogger

logger = getLogger(__name__)


def _mathml(node, **options) -> str:
    text = node.astext().strip()
    try:
        return tex2mathml(text, **options)
    except MathError as error:
        logger.warning("%s: %s", text, error, location=node)
        return html.escape(text)


def _inline(visitor, node):
    visitor.body.append(f'<span class="math">{_mathml(node)}</span>')
    raise SkipNode


def _block(visitor, node):
    visitor.body.append(visitor.starttag(node, "div", CLASS="math"))
    visitor.body.append(_mathml(node, as_block=True))
    if node.get("number"):
        visitor.body.append(f'<span class="eqno">({node["number"]})</span>')
    visitor.body.append("</div>\n")
    raise SkipNode


def setup(app):
    """Register the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
