"""Evaluate a trained detector (maskrcnn_benchmark.commands.test_net)."""

from maskrcnn_benchmark.commands.test_net import main, run  # noqa: F401

if __name__ == "__main__":
    run()
