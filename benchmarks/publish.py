"""Write the results of `make bench` to docs/: `python -m benchmarks.publish RESULTS.json [FOLDER]`.

It replaces the picture, and in performance.md the text between the two comments that mark the
figures.
"""

import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from benchmarks.contenders import CACHES, DEVELOPMENT, FLOOR, PRODUCTION, TUTORIAL
from benchmarks.report import TITLES, Results

_DOCS = Path(__file__).parent.parent / "docs"
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of the figures -->"

_WIDTH, _NAMES, _VALUES = 760, 170, 60  # texts are left and right of the bars
_BAR, _HEADING, _GAP = 18, 30, 14
_PLAIN: Final = "#8c959f"
_COLOURS: Final = {
    TUTORIAL.name: "#d0d7de",
    CACHES.name: "#d0d7de",
    FLOOR.name: "#57606a",
    DEVELOPMENT.name: "#0969da",
    PRODUCTION.name: "#54aeff",
}


def main() -> None:
    results = Results.read(Path(sys.argv[1]).read_bytes())
    docs = Path(sys.argv[2]) if len(sys.argv) > 2 else _DOCS  # noqa: PLR2004 - the optional folder
    (docs / "performance.svg").write_text(picture(results))
    page = docs / "performance.md"
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text("".join((before, _BEGIN, *figures(results), _END, after)))


def figures(results: Results) -> Iterator[str]:
    for operation in results.loads:
        head, *rows = results.rows(operation)
        yield f"\n### {TITLES[operation]}\n\n"
        yield _line(head) + _line(["---", *["---:"] * (len(head) - 1)])
        yield from map(_line, rows)
    yield "\n### Beside the tables\n\n"
    yield from (f"- {line}\n" for line in results.told())
    yield "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def picture(results: Results) -> str:
    """Draw the requests per second as SVG: a group of bars per operation, each on its own scale."""
    drawn, top = [], 0
    for operation, loads in results.loads.items():
        title = f"{TITLES[operation]}, requests a second"
        drawn.append(_text(0, top + 18, title, ' font-weight="bold"'))
        top += _HEADING
        most = max(load.rate for load in loads.values())
        for name, load in sorted(loads.items(), key=lambda of: -of[1].rate):
            width = (_WIDTH - _NAMES - _VALUES) * load.rate / most
            drawn.append(_text(0, top + 12, TITLES[name]))
            drawn.append(
                f'<rect x="{_NAMES}" y="{top}" width="{width:.1f}" height="{_BAR - 4}" '
                f'fill="{_COLOURS.get(name, _PLAIN)}"/>'
            )
            drawn.append(_text(_NAMES + width + 6, top + 12, f"{load.rate:.0f}"))
            top += _BAR
        top += _GAP
    size = f"{_WIDTH + 2 * _GAP} {top + _GAP}"
    style = 'font-family="sans-serif" font-size="12" fill="#24292f"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" {style}>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n<g transform="translate({_GAP} 4)">\n'
        + "\n".join(drawn)
        + "\n</g>\n</svg>\n"
    )


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}"{more}>{escape(text)}</text>'


if __name__ == "__main__":
    main()
