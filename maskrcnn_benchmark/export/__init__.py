"""Detectors as files that run without the package: ONNX, and torch.export's .pt2."""
