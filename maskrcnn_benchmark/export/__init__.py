"""Detectors as files that run without PyTorch's model code: ONNX, and torch.export's .pt2."""
