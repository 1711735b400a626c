"""OpenCV's functions that differ between its versions."""

from typing import Any

import cv2


def findContours(*args: Any, **kwargs: Any) -> tuple:
    """Return (contours, hierarchy) of cv2.findContours; OpenCV 3 returns the image before them."""
    return tuple(cv2.findContours(*args, **kwargs)[-2:])
