from collections.abc import Callable
from typing import Any


class Registry(dict):
    """A dict of named things that refuses to name two things alike.

    ANIMALS = Registry({"dog": Dog})
    ANIMALS.register("cat", Cat)        # a call, or

    @ANIMALS.register("cow")            # a decorator, which may be stacked
    def build_cow(cfg): ...
    """

    def register(self, module_name: str, module: Any = None) -> Callable | None:
        """Add `module` under `module_name`; without a module, return a decorator that does."""
        if module is None:
            return lambda decorated: self._add(module_name, decorated)
        self._add(module_name, module)
        return None

    def _add(self, name: str, module: Any) -> Any:
        if name in self:
            raise ValueError(f"'{name}' is already registered (as {self[name]}); take another name")
        self[name] = module
        return module

    def __missing__(self, name: str) -> Any:
        raise KeyError(f"'{name}' is not registered; there are: {', '.join(sorted(self))}")
