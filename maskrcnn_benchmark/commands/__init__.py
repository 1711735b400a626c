"""The programs: tools/*.py and the console commands (maskrcnn-train, …) call what is here."""

from maskrcnn_benchmark.utils.env import setup_environment  # noqa: F401
