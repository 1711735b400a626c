"""A hook for a site's own set-up: the file named by TORCH_DETECTRON_ENV_MODULE.

Importing this module runs that file's `setup_environment()`, if the variable is set.
"""

import os

from maskrcnn_benchmark.utils.imports import import_file


def setup_environment() -> None:
    """Run the set-up that TORCH_DETECTRON_ENV_MODULE names; without it, do nothing."""
    path = os.environ.get("TORCH_DETECTRON_ENV_MODULE")
    if path:
        setup_custom_environment(path)


def setup_custom_environment(custom_module_path: str) -> None:
    """Run `setup_environment()` of a Python file."""
    module = import_file("maskrcnn_benchmark.utils.env.custom_module", custom_module_path)
    setup = getattr(module, "setup_environment", None)
    if not callable(setup):
        raise ValueError(
            f"{custom_module_path} (TORCH_DETECTRON_ENV_MODULE) must define a function "
            "setup_environment()"
        )
    setup()


setup_environment()
