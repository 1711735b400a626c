"""The detectors, built by `build_detection_model(cfg)`."""

from .detectors import build_detection_model

__all__ = ["build_detection_model"]
