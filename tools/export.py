"""Write a trained detector into an .onnx or .pt2 (maskrcnn_benchmark.commands.export)."""

from maskrcnn_benchmark.commands.export import main, run  # noqa: F401

if __name__ == "__main__":
    run()
