"""Detectors as ONNX files, which run without PyTorch's model code."""
