"""Train a detector, then evaluate it (maskrcnn_benchmark.commands.train_net)."""

from maskrcnn_benchmark.commands.train_net import main, run  # noqa: F401

if __name__ == "__main__":
    run()
