"""Detections in chunks, so that a head takes no more memory for a crowd than for some objects."""

from collections.abc import Iterator

from maskrcnn_benchmark.structures.bounding_box import BoxList

_BYTES = 300e6


def boxes_per_chunk(pooled: int, grid: int) -> int:
    """Return how many boxes a head can take in 300 MB.

    Three layers of the pooled size are held at a time: what a block gets, makes and adds. The
    transposed convolution that enlarges them holds four of the grid's size, for a CPU reorders what
    goes in and what comes out. Measured: 3.4 MB per box for 256 channels and 28 x 28 cells, where
    this counts 3.8.

    Args:
        pooled: float32 numbers per box of the widest layer before the enlargement.
        grid: those of the widest layer after it.
    """
    return max(1, int(_BYTES // (4 * (3 * pooled + 4 * grid))))


def split_boxes(boxes: list[BoxList], most: int) -> Iterator[list[BoxList]]:
    """Yield all boxes in their order, in as few chunks as possible, of nearly equal size.

    Equal, as a rest of some boxes would run through other kernels, whose last bits differ.

    Args:
        boxes: one BoxList per image.
        most: boxes per chunk, of all images together.

    Yields:
        one BoxList per image, empty where the image has no box in the chunk; the lists as given
        where one chunk holds them all.
    """
    total = sum(len(of_image) for of_image in boxes)
    if total <= most:
        yield boxes
        return
    chunks = -(-total // most)
    ends = [total * number // chunks for number in range(chunks + 1)]
    for low, high in zip(ends[:-1], ends[1:], strict=True):
        chunk, first = [], 0  # the number of the image's first box
        for of_image in boxes:
            chunk.append(of_image[max(low - first, 0) : max(high - first, 0)])
            first += len(of_image)
        yield chunk
