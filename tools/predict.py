"""Find objects in images of any size (maskrcnn_benchmark.commands.predict)."""

from maskrcnn_benchmark.commands.predict import main, run  # noqa: F401

if __name__ == "__main__":
    run()
