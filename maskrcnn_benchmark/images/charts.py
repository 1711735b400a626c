"""Bar charts, drawn with OpenCV."""

from collections.abc import Sequence

import cv2
import numpy as np

from maskrcnn_benchmark.images.drawing import BLACK, FONT

WIDTH, ROW, LEFT, HEAD = 560, 20, 170, 34  # pixels
BAR_COLOR = (180, 120, 40)  # BGR


def draw_bars(title: str, bars: Sequence[tuple[str, float]], full: float = 0) -> np.ndarray:
    """Draw a horizontal bar per entry, the greatest as long as the chart is wide.

    Args:
        title: above the bars.
        bars: (name, value from 0 up) from top to bottom.
        full: a bar of this value is as long as the chart is wide, if none is greater.

    Returns:
        A new BGR image, WIDTH pixels wide, ROW high per bar.
    """
    canvas = np.full((HEAD + ROW * len(bars) + 10, WIDTH, 3), 255, np.uint8)
    cv2.putText(canvas, title, (10, 22), FONT, 0.5, BLACK, 1, cv2.LINE_AA)
    greatest = max([value for _, value in bars] + [full, 1e-12])
    for number, (name, value) in enumerate(bars):
        top = HEAD + ROW * number
        end = LEFT + round(value / greatest * (WIDTH - LEFT - 80))
        cv2.rectangle(canvas, (LEFT, top + 3), (end, top + ROW - 4), BAR_COLOR, -1)
        cv2.putText(canvas, name[:20], (10, top + 15), FONT, 0.4, BLACK, 1, cv2.LINE_AA)
        cv2.putText(canvas, f"{value:,}", (end + 5, top + 15), FONT, 0.4, BLACK, 1, cv2.LINE_AA)
    return canvas


def stack_charts(charts: Sequence[np.ndarray], columns: int = 2) -> np.ndarray:
    """Put charts of one width into columns, each chart into the shortest one so far."""
    piles: list[list[np.ndarray]] = [[] for _ in range(columns)]
    for chart in charts:
        min(piles, key=lambda pile: sum(map(len, pile))).append(chart)
    height = max(sum(map(len, pile)) for pile in piles)
    canvas = np.full((height, columns * WIDTH, 3), 255, np.uint8)
    for column, pile in enumerate(piles):
        if pile:
            stacked = np.concatenate(pile)
            canvas[: len(stacked), column * WIDTH : (column + 1) * WIDTH] = stacked
    return canvas
