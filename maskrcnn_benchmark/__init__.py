"""Detection of crowded objects in aerial images: maskrcnn_benchmark for today's PyTorch."""

__version__ = "1.0.0"
