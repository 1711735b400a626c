"""The original's folder `demo`, which its users import as `demo.predictor`.

Installed as the top-level package `demo` too. A folder `demo` of the user's own goes first.
"""

from pkgutil import extend_path

__path__ = [path for path in extend_path(__path__, __name__) if path not in __path__] + __path__
