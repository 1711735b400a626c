"""Import Python files that belong to no package."""

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType


def import_file(
    module_name: str, file_path: str | Path, make_importable: bool | None = None
) -> ModuleType:
    """Run a Python file as a module.

    Args:
        module_name: the module's `__name__`.
        make_importable: leave it in `sys.modules`, so that `import module_name` finds it.
    """
    if not Path(file_path).is_file():
        raise FileNotFoundError(f"no Python file {file_path} to import as {module_name}")
    loader = SourceFileLoader(module_name, str(file_path))
    module = module_from_spec(spec_from_loader(module_name, loader))
    loader.exec_module(module)
    if make_importable:
        sys.modules[module_name] = module
    return module
