"""The reader's place before it moved to images/: names that scripts import from here."""

from maskrcnn_benchmark.images.image_io import read_image, read_image_size, to_bgr, write_image

__all__ = ["read_image", "read_image_size", "to_bgr", "write_image"]
