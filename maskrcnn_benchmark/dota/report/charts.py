"""Charts as SVG and HTML text that needs no script and fits any width."""

from collections.abc import Sequence
from html import escape


def curve_chart(recall: Sequence[float], precision: Sequence[float]) -> str:
    """Draw precision over recall as SVG, both from 0 to 1.

    Args:
        recall: rising.
        precision: as many.
    """
    left, top, width, height = 26, 6, 128, 96  # of the axes in the view box

    def place(x: float, y: float) -> str:
        return f"{left + x * width:.1f},{top + (1 - y) * height:.1f}"

    lines, texts = [], []
    for share in (0, 0.5, 1):
        x, y = left + share * width, top + (1 - share) * height
        lines.append(f"M{left} {y:.1f}H{left + width}M{x:.1f} {top}V{top + height}")
        texts.append(f'<text x="{left - 4}" y="{y + 3:.1f}" text-anchor="end">{share:g}</text>')
        texts.append(
            f'<text x="{x:.1f}" y="{top + height + 12}" text-anchor="middle">{share:g}</text>'
        )
    points = [place(x, y) for x, y in zip(recall, precision, strict=True)]
    if points:
        points = [place(0, precision[0]), *points]
    return (
        f'<svg viewBox="0 0 160 118" role="img" aria-label="precision over recall">'
        f'<path class="grid" d="{"".join(lines)}"/>{"".join(texts)}'
        f'<polyline points="{" ".join(points)}"/></svg>'
    )


def bar_rows(rows: Sequence[tuple[str, str, float, str]]) -> str:
    """Draw horizontal bars, one below the other.

    Args:
        rows: (title, note, length, color): the length in 0 ... 1, the colour as CSS names it; the
            note stands at the bar's end.
    """
    parts = []
    for title, note, length, color in rows:
        share = 100 * min(max(length, 0), 1)
        parts.append(
            f"<dt>{escape(title)}</dt><dd>"
            f'<span class="bar" style="width:{share:.1f}%;background:{color}"></span>'
            f"<span>{escape(note)}</span></dd>"
        )
    return f'<dl class="bars">{"".join(parts)}</dl>'


def table_html(
    head: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str] | None = None
) -> str:
    """Lay out a table in a frame that scrolls where it is wider than the page.

    Args:
        head: titles of the columns.
        rows: cells, escaped here; the first of a row is its title.
        foot: a last row that stands out.
    """
    lines = ["<tr>" + "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head) + "</tr>"]
    for kind, cells in [("", row) for row in rows] + ([(' class="foot"', foot)] if foot else []):
        first, *others = cells
        data = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        lines.append(f'<tr{kind}><th scope="row">{escape(first)}</th>{data}</tr>')
    return f'<div class="frame" tabindex="0"><table>{"".join(lines)}</table></div>'


def matrix_html(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Lay out a confusion matrix, each cell as dark as its share of the row.

    Args:
        names: of the rows and columns; the last one is the background's.
        matrix: counts, a row per class of the objects.
    """
    columns = [*names[:-1], "not found"]
    rows = [*names[:-1], "background"]
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in columns)
    lines = [f"<tr><th>object ╲ detection</th>{head}</tr>"]
    for row, (name, counts) in enumerate(zip(rows, matrix, strict=True)):
        total = max(sum(counts), 1)
        cells = []
        for column, count in enumerate(counts):
            color = "46,125,50" if row == column else "198,40,40"
            share = count / total
            style = f"background:rgba({color},{share:.2f})" + (";color:#fff" if share > 0.6 else "")
            cells.append(f'<td style="{style}">{count or ""}</td>')
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    return f'<div class="frame" tabindex="0"><table class="matrix">{"".join(lines)}</table></div>'
