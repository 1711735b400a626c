"""Write a trained detector into an ONNX file (maskrcnn_benchmark.commands.export)."""

from maskrcnn_benchmark.commands.export import main, run  # noqa: F401

if __name__ == "__main__":
    run()
