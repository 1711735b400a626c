import importlib.util
import sys
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
    spec = importlib.util.spec_from_file_location(module_name, file_path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file_path} is not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if make_importable:
        sys.modules[module_name] = module
    return module
