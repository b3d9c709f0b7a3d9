"""How HTML pages are made from the templates: escaped, and refusing what a template lacks."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

# Made with the import: an installation without its templates must not pass for damaged records.
_ENVIRONMENT = Environment(
    loader=PackageLoader("eval.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page(template: str, **values: Any) -> str:
    """Return the page that a template of `eval/report/templates` makes of these values."""
    return _ENVIRONMENT.get_template(template).render(**values)
