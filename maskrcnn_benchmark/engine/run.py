"""What the tools shared before it moved: names that scripts import from here."""

from maskrcnn_benchmark.config.settings import load_config
from maskrcnn_benchmark.utils.checkpoint import load_trained
from maskrcnn_benchmark.utils.command_line import add_run_arguments, run_tool
from maskrcnn_benchmark.utils.processes import start_run

__all__ = ["add_run_arguments", "load_config", "load_trained", "run_tool", "start_run"]
