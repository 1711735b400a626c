"""Several data sets as one."""

import bisect

from torch.utils.data import ConcatDataset as _ConcatDataset


class ConcatDataset(_ConcatDataset):
    """torch's ConcatDataset with the sizes of the images."""

    def get_idxs(self, idx: int) -> tuple[int, int]:
        """Return (number of the data set, index in that data set) for an index."""
        number = bisect.bisect_right(self.cumulative_sizes, idx)
        first = self.cumulative_sizes[number - 1] if number else 0
        return number, idx - first

    def get_img_info(self, idx: int) -> dict:
        """Return `get_img_info` of the data set that the image belongs to."""
        number, position = self.get_idxs(idx)
        return self.datasets[number].get_img_info(position)
