"""Hook for set-up code of a site: the Python file that TORCH_DETECTRON_ENV_MODULE names.

Importing this module calls `setup_environment()` of that file, if the variable is set.
"""

import os

from maskrcnn_benchmark.utils.imports import import_file


def setup_environment() -> None:
    """Run the set-up file that TORCH_DETECTRON_ENV_MODULE names, if the variable is set."""
    path = os.environ.get("TORCH_DETECTRON_ENV_MODULE")
    if path:
        setup_custom_environment(path)


def setup_custom_environment(custom_module_path: str) -> None:
    """Call `setup_environment()` of a Python file.

    Raises:
        ValueError: the file does not define that function.
    """
    module = import_file("maskrcnn_benchmark.utils.env.custom_module", custom_module_path)
    setup = getattr(module, "setup_environment", None)
    if not callable(setup):
        raise ValueError(
            f"{custom_module_path} (TORCH_DETECTRON_ENV_MODULE) must define a function "
            "setup_environment()"
        )
    setup()


setup_environment()
