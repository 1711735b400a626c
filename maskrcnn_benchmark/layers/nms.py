import torchvision
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression in float32 or better.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,)
        iou_threshold: a box is dropped if its IoU with a better kept one is greater.
    Returns:
        int64 indices of the kept boxes, by falling score.
    """
    if boxes.dtype.itemsize < 4:
        boxes = boxes.float()
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)
