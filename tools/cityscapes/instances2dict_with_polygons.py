#!/usr/bin/env python
"""Print the objects of *_instanceIds.png files with their outlines, as JSON."""

import json
import sys

from maskrcnn_benchmark.data.datasets.cityscapes_to_coco import instances2dict_with_polygons

__all__ = ["instances2dict_with_polygons", "main"]


def main(argv: list[str]) -> None:
    if not argv:
        sys.exit(f"usage: {sys.argv[0]} CITY_NUMBER_NUMBER_gtFine_instanceIds.png …")
    print(json.dumps(instances2dict_with_polygons(argv)))


if __name__ == "__main__":
    main(sys.argv[1:])
