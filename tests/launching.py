"""Start tools as a user does, alone or under torchrun, or import them."""

import os
import subprocess
import sys
from importlib import util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def load_file(path: str) -> ModuleType:
    """Import a Python file outside the package, such as tools/dota.py, from the root."""
    spec = util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launch(*arguments: object, processes: int = 1, timeout: float = 200, **environment: str):
    """Run a Python file from the repository's root.

    Args:
        arguments: the file and its arguments.
        processes: number of processes; more than one are started by torchrun.
        timeout: seconds, after which all processes are terminated.
        environment: variables to add.

    Returns:
        subprocess.CompletedProcess with stdout and stderr as text.
    """
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc_per_node", str(processes)]
    command += [str(argument) for argument in arguments]
    path = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment}
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            process.terminate()  # torchrun then ends its processes
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
