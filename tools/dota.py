"""Prepare DOTA-format data, and evaluate result files (maskrcnn_benchmark.commands.dota)."""

from maskrcnn_benchmark.commands.dota import main, run  # noqa: F401

if __name__ == "__main__":
    run()
