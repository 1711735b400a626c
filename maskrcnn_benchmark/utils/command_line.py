"""What the tools' command lines share: their arguments, and how a program ends."""

import argparse
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from types import ModuleType

from maskrcnn_benchmark.config.ranges import DTYPES

# what checks of settings and files raise; anything else may be a fault of the program
FORESEEN = (ValueError, OSError, ImportError, FloatingPointError)
# how gloo and NCCL say that another process does not answer, or is gone
_SILENT = re.compile("timed out|timeout", re.IGNORECASE)
_GONE = re.compile("connection (closed|reset|refused)|broken pipe", re.IGNORECASE)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that train_net and test_net have in common, by the original's names."""
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument(
        "--local_rank",
        "--local-rank",
        type=int,
        default=0,
        help="GPU of this process; torchrun sets LOCAL_RANK instead",
    )
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY value",
        help="change settings, for example: SOLVER.MAX_ITER 1000 MODEL.DEVICE cpu",
    )


def add_dtype_argument(parser: argparse.ArgumentParser) -> None:
    """Add the precision of the network's work."""
    parser.add_argument(
        "--dtype", choices=DTYPES, help="precision of the network, as DTYPE (the settings' own)"
    )


def add_band_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how a TIFF file's bands become a picture."""
    parser.add_argument(
        "--bands", metavar="R,G,B", help="numbers of a TIFF's bands, such as 4,3,2; one is grey"
    )
    parser.add_argument(
        "--stretch",
        metavar="LOW,HIGH",
        help="values of a TIFF that become black and white: 0,4095, or percentages: 2%%,98%%",
    )


def parse_with_pairs(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse a command line whose options stand before, between or after its pairs KEY value.

    Args:
        parser: its last argument is "opts", all that follows the options (add_run_arguments).
        arguments: None: the program's.

    Returns:
        what the parser returns, with the pairs alone in `opts`.
    """
    args = parser.parse_args(arguments)
    pairs: list[str] = []
    while late := [i for i, part in enumerate(args.opts) if re.match("--.", part)]:
        pairs += args.opts[: late[0]]
        args = parser.parse_args(args.opts[late[0] :], args)
    args.opts = pairs + args.opts
    return args


def image_size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT, such as 1024x768; a type for argparse."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text.lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 1024x768, got {text!r}")
    return int(match[1]), int(match[2])


def score(text: str) -> float:
    """Read a score or an overlap from 0 to 1, such as 0.3; a type for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value <= 1:
        return value
    wanted = value / 100 if 1 < value <= 100 else 0.3  # 30 means 30 per cent
    raise argparse.ArgumentTypeError(
        f"expected a number from 0 to 1, got {text!r}: write {wanted:g}"
    )


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a tool's main and end the program: 0, or what main returns.

    Every error is told in one line and ends with 2, a loss that is not finite with 1, Ctrl-C with
    130. An error of a kind that our own checks do not raise is told with its kind and its place.
    With MASKRCNN_DEBUG set, tracebacks are shown instead.
    """
    try:
        code = main()
        if (dist := _joined_processes()) is not None:
            dist.destroy_process_group()
    except KeyboardInterrupt:
        print("interrupted; give the same command again", file=sys.stderr)
        code = 130
    except Exception as error:
        if os.environ.get("MASKRCNN_DEBUG"):
            raise
        print(f"error: {_describe(error)}", file=sys.stderr, flush=True)
        code = 1 if isinstance(error, FloatingPointError) else 2
    logging.shutdown()
    sys.exit(code)


def _joined_processes() -> ModuleType | None:
    """Return torch.distributed where this process is one of several, else None."""
    dist = sys.modules.get("torch.distributed")  # programs without networks load no PyTorch
    is_joined = dist is not None and dist.is_available() and dist.is_initialized()
    return dist if is_joined else None


def _describe(error: Exception) -> str:
    """Say in one line what is wrong, and how to see where."""
    message = _one_line(error)
    dist = _joined_processes()
    if dist is not None and isinstance(error, RuntimeError):
        told = f"process {dist.get_rank()} of {dist.get_world_size()}"
        if _SILENT.search(message):
            return (
                f"another process stopped answering {told} within SOLVER.STEP_TIMEOUT: it hangs, "
                f"was stopped, or its machine cannot be reached ({message})"
            )
        if _GONE.search(message):
            return f"another process has ended, its own lines say why; told to {told} ({message})"
    if isinstance(error, FORESEEN):
        return f"{message} (MASKRCNN_DEBUG=1 shows where)"
    place = traceback.extract_tb(error.__traceback__)[-1]
    kind = type(error).__name__
    if message != kind:
        kind += f": {message}"
    return f"{kind} ({place.filename}:{place.lineno}; MASKRCNN_DEBUG=1 shows the traceback)"


def _one_line(error: Exception) -> str:
    """Return the message; of an error that came out of a loading process, its last line."""
    message = str(error).strip() or type(error).__name__
    if message.startswith("Caught "):
        message = message.splitlines()[-1]
    return " ".join(message.split())
