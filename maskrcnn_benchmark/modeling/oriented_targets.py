"""Ground truth as the oriented models count it.

Inside an oriented model every box is in edges: the box of an object that fills columns 3..12 has
x2 = 13. DataSets give BoxLists with x2 = 12 there, and corners in edges; what comes out of a model
is a BoxList like those again. The conversions are structures/rotated_boxes.py's.
"""

from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.corners import Corners
from maskrcnn_benchmark.structures.rotated_boxes import corners_to_edges, corners_to_rotated

METHODS = ("", "oriented_rcnn", "gliding_vertex")


def to_oriented_targets(targets: list[BoxList]) -> list[BoxList]:
    """Return the ground truth with boxes in edges around its corners.

    Args:
        targets: one BoxList per image with the fields "labels" and "corners" (Corners).

    Returns:
        BoxLists with the fields "labels", "corners" [N, 4, 2] and "rotated_boxes" [N, 5], the
        smallest rectangles around the corners.

    Raises:
        ValueError: ground truth without corners.
    """
    converted = []
    for target in targets:
        if not target.has_field("corners"):
            raise ValueError(
                "an oriented model (MODEL.ORIENTED.METHOD) trains on ground truth with the field "
                f'"corners", which a "dota:" data set has; got {target} with {target.fields()}'
            )
        corners = target.get_field("corners")
        points = corners.points if isinstance(corners, Corners) else corners
        edges = BoxList(corners_to_edges(points), target.size)
        edges.image_name = target.image_name
        edges.add_field("labels", target.get_field("labels"))
        edges.add_field("corners", points)
        edges.add_field("rotated_boxes", corners_to_rotated(points))
        converted.append(edges)
    return converted


def check_oriented(cfg) -> None:
    """Refuse settings that contradict MODEL.ORIENTED.METHOD.

    Raises:
        ValueError: a setting that the method cannot have, with the value that it needs.
    """
    model, method = cfg.MODEL, cfg.MODEL.ORIENTED.METHOD
    if method not in METHODS:
        raise ValueError(f"MODEL.ORIENTED.METHOD is {method!r}; known: {METHODS}")
    if not method:
        return
    needed = {
        "MASK_ON": (False, model.MASK_ON),
        "KEYPOINT_ON": (False, model.KEYPOINT_ON),
        "RETINANET_ON": (False, model.RETINANET_ON),
        "RPN_ONLY": (False, model.RPN_ONLY),
        "RPN.USE_FPN": (True, model.RPN.USE_FPN),
        "ROI_HEADS.USE_FPN": (True, model.ROI_HEADS.USE_FPN),
        "CLS_AGNOSTIC_BBOX_REG": (False, model.CLS_AGNOSTIC_BBOX_REG),
    }
    if method == "oriented_rcnn":
        needed["RPN.RPN_HEAD"] = ("OrientedRPNHead", model.RPN.RPN_HEAD)
    else:
        needed["ROI_BOX_HEAD.PREDICTOR"] = ("FPNRatioPredictor", model.ROI_BOX_HEAD.PREDICTOR)
    wrong = [f"MODEL.{k} {want!r}, got {got!r}" for k, (want, got) in needed.items() if want != got]
    if wrong:
        raise ValueError(f"MODEL.ORIENTED.METHOD {method!r} needs {'; '.join(wrong)}")
