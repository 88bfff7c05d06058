"""What our pages are made of: their files, tables, lists, shares, and the data of their scripts; no judgement."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs


def asset(package: str, name: str) -> str:
    """Read a text file of a package's assets."""
    return resources.files(package).joinpath("assets", name).read_text(encoding="utf-8")


def fill(template: str, *, css: str, script: str, data: object, **parts: str) -> str:
    """Put a page together; it holds the plotting library whole, so that it loads nothing.

    Args:
        template: With `$css`, `$script`, `$plotly`, `$data` and a place for each of `parts`.
        css: Style sheet.
        script: Run once the library is there.
        data: What the script reads, as JSON.
        parts: HTML; whoever makes it has escaped what others wrote.

    Raises:
        KeyError: A place has nothing to go there.
    """
    return Template(template).substitute(
        css=css, script=script, plotly=str(get_plotlyjs()), data=for_script(data), **parts
    )


def for_script(data: object) -> str:
    """Serialize for a script element, which any `</script>` in a name would end."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def figure_json(figure: Any) -> Any:
    """Turn a figure into what `json` can write."""
    return json.loads(figure.to_json())


def table(head: Iterable[str], rows: Iterable[str], *, kind: str = "") -> str:
    """Make a table of a header's cells and of rows as `row` makes them, all HTML."""
    header = "".join(f"<th>{cell}</th>" for cell in head)
    attribute = f' class="{kind}"' if kind else ""
    return f"<table{attribute}><thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def row(name: str, cells: Iterable[str], *, kind: str = "") -> str:
    """Make a row of a name, of a kind that the style sheet knows, and cells, all HTML."""
    return f'<tr><td class="name {kind}">{name}</td>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def card(title: str, lines: Iterable[tuple[str, str, str]]) -> str:
    """Make a card of a title and of lines, each of kind, name and value, all HTML."""
    body = "".join(f'<dt class="{kind}">{name}</dt><dd class="{kind}">{value}</dd>' for kind, name, value in lines)
    return f'<div class="card"><h3>{title}</h3><dl>{body}</dl></div>'


def facts(told: Mapping[str, str]) -> str:
    """Make a table of names, which are HTML, and plain texts."""
    body = "".join(f"<tr><td>{name}</td><td>{html.escape(text)}</td></tr>" for name, text in told.items())
    return f'<table class="settings"><tbody>{body}</tbody></table>'


def bullets(sentences: Iterable[str]) -> str:
    """Make a list of plain sentences."""
    return f"<ul>{''.join(f'<li>{html.escape(sentence)}</li>' for sentence in sentences)}</ul>"


def percent(ratio: float) -> str:
    """Render a share as a percentage, as HTML."""
    if 0 < ratio < 0.00001:
        return "&lt; 0.001%"
    return "0" if ratio == 0 else f"{ratio:.3%}" if ratio < 0.001 else f"{ratio:.2%}"
