"""Description of the environment for a log."""

import cv2
import PIL
import torchvision
from torch.utils.collect_env import get_pretty_env_info


def get_pil_version() -> str:
    """Return a line with Pillow's version, indented as the others of `collect_env_info`."""
    return f"\n        Pillow ({PIL.__version__})"


def collect_env_info() -> str:
    """Return a description of PyTorch, CUDA, the machine and the image libraries, for a log."""
    return (
        get_pretty_env_info()
        + get_pil_version()
        + f"\n        torchvision ({torchvision.__version__})"
        + f"\n        OpenCV ({cv2.__version__})"
    )
