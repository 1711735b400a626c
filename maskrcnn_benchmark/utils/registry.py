"""Registry of functions and classes by name."""

from collections.abc import Callable
from typing import Any


class Registry(dict):
    """A dict from names to functions or classes that refuses to register a name twice.

    BACKBONES = Registry({"R-50": build_r50})
    BACKBONES.register("R-101", build_r101)     # a call, or

    @BACKBONES.register("R-152")                # a decorator, which may be stacked
    def build_r152(cfg): ...
    """

    def register(self, module_name: str, module: Any = None) -> Callable | None:
        """Register `module` as `module_name`; without a module, return a decorator that does so.

        Raises:
            ValueError: the name is registered.
        """
        if module is None:
            return lambda decorated: self._add(module_name, decorated)
        self._add(module_name, module)
        return None

    def _add(self, name: str, module: Any) -> Any:
        if name in self:
            raise ValueError(
                f"'{name}' is already registered (as {self[name]}); choose another name"
            )
        self[name] = module
        return module

    def __missing__(self, name: str) -> Any:
        raise KeyError(f"'{name}' is not registered; there are: {', '.join(sorted(self))}")
