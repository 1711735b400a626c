"""What the names of data sets and of published weights stand for.

The factory of a data set is part of its entry, or follows from the entry's keys; its name decides
nothing. A file with these two classes can stand in for this one: set PATHS_CATALOG to its path.
"""

import os

from maskrcnn_benchmark.config.dataset_names import resolve_dataset_name


def _coco(img_dir: str, ann_file: str) -> dict:
    return {"factory": "COCODataset", "img_dir": img_dir, "ann_file": ann_file}


def _voc(data_dir: str, split: str) -> dict:
    return {"factory": "PascalVOCDataset", "data_dir": data_dir, "split": split}


def _cityscapes(split: str, mode: str, **more: int) -> dict:
    return {
        "factory": "CityScapesDataset",
        "img_dir": "cityscapes/leftImg8bit",
        "ann_dir": "cityscapes/gtFine",
        "split": split,
        "mode": mode,
        **more,
    }


class NotInCatalogError(ValueError, RuntimeError):
    """A name that a catalog does not have; the original raises RuntimeError for it."""


class DatasetCatalog:
    """Data sets by name, with paths below DATA_DIR."""

    DATA_DIR = "datasets"
    DATASETS = {
        "coco_2017_train": _coco("coco/train2017", "coco/annotations/instances_train2017.json"),
        "coco_2017_val": _coco("coco/val2017", "coco/annotations/instances_val2017.json"),
        "coco_2014_train": _coco("coco/train2014", "coco/annotations/instances_train2014.json"),
        "coco_2014_val": _coco("coco/val2014", "coco/annotations/instances_val2014.json"),
        "coco_2014_minival": _coco("coco/val2014", "coco/annotations/instances_minival2014.json"),
        "coco_2014_valminusminival": _coco(
            "coco/val2014", "coco/annotations/instances_valminusminival2014.json"
        ),
        "keypoints_coco_2014_train": _coco(
            "coco/train2014", "coco/annotations/person_keypoints_train2014.json"
        ),
        "keypoints_coco_2014_val": _coco(
            "coco/val2014", "coco/annotations/person_keypoints_val2014.json"
        ),
        "keypoints_coco_2014_minival": _coco(
            "coco/val2014", "coco/annotations/person_keypoints_minival2014.json"
        ),
        "keypoints_coco_2014_valminusminival": _coco(
            "coco/val2014", "coco/annotations/person_keypoints_valminusminival2014.json"
        ),
        "voc_2007_train": _voc("voc/VOC2007", "train"),
        "voc_2007_train_cocostyle": _coco(
            "voc/VOC2007/JPEGImages", "voc/VOC2007/Annotations/pascal_train2007.json"
        ),
        "voc_2007_val": _voc("voc/VOC2007", "val"),
        "voc_2007_val_cocostyle": _coco(
            "voc/VOC2007/JPEGImages", "voc/VOC2007/Annotations/pascal_val2007.json"
        ),
        "voc_2007_test": _voc("voc/VOC2007", "test"),
        "voc_2007_test_cocostyle": _coco(
            "voc/VOC2007/JPEGImages", "voc/VOC2007/Annotations/pascal_test2007.json"
        ),
        "voc_2012_train": _voc("voc/VOC2012", "train"),
        "voc_2012_train_cocostyle": _coco(
            "voc/VOC2012/JPEGImages", "voc/VOC2012/Annotations/pascal_train2012.json"
        ),
        "voc_2012_val": _voc("voc/VOC2012", "val"),
        "voc_2012_val_cocostyle": _coco(
            "voc/VOC2012/JPEGImages", "voc/VOC2012/Annotations/pascal_val2012.json"
        ),
        "voc_2012_test": _voc("voc/VOC2012", "test"),
        "cityscapes_fine_instanceonly_seg_train_cocostyle": _coco(
            "cityscapes/images",
            "cityscapes/annotations/instancesonly_filtered_gtFine_train.json",
        ),
        "cityscapes_fine_instanceonly_seg_val_cocostyle": _coco(
            "cityscapes/images",
            "cityscapes/annotations/instancesonly_filtered_gtFine_val.json",
        ),
        "cityscapes_fine_instanceonly_seg_test_cocostyle": _coco(
            "cityscapes/images",
            "cityscapes/annotations/instancesonly_filtered_gtFine_test.json",
        ),
        "cityscapes_poly_instance_train": _cityscapes("train", "poly"),
        "cityscapes_poly_instance_val": _cityscapes("val", "poly"),
        "cityscapes_poly_instance_minival": _cityscapes("val", "poly", mini=10),
        "cityscapes_mask_instance_train": _cityscapes("train", "mask"),
        "cityscapes_mask_instance_val": _cityscapes("val", "mask"),
        "cityscapes_mask_instance_minival": _cityscapes("val", "mask", mini=10),
    }
    # an entry without a factory, as in catalogs written for the original
    FACTORY_OF_KEY = {
        "ann_file": "COCODataset",
        "data_dir": "PascalVOCDataset",
        "ann_dir": "CityScapesDataset",
    }

    @staticmethod
    def get(name: str) -> dict:
        """Return dict(factory=class name in data.datasets, args=its arguments) for a name.

        Raises:
            NotInCatalogError: there is no such data set.
        """
        resolved = resolve_dataset_name(name)
        if resolved is not None:
            return resolved
        if name not in DatasetCatalog.DATASETS:
            raise NotInCatalogError(
                f'Dataset not available: "{name}". Use "dota:FOLDER", '
                '"coco:ANNOTATIONS.json:IMAGES_FOLDER", or a name of the catalog: '
                + ", ".join(DatasetCatalog.DATASETS)
            )
        entry = dict(DatasetCatalog.DATASETS[name])
        factory = entry.pop("factory", None) or DatasetCatalog._factory_of(name, entry)
        paths = {
            key: os.path.join(DatasetCatalog.DATA_DIR, value)
            for key, value in entry.items()
            if key in ("img_dir", "ann_file", "data_dir", "ann_dir")
        }
        args = {**entry, **paths}
        if factory == "COCODataset":
            args["root"] = args.pop("img_dir")
        return dict(factory=factory, args=args)

    @staticmethod
    def _factory_of(name: str, entry: dict) -> str:
        for key, factory in DatasetCatalog.FACTORY_OF_KEY.items():
            if key in entry:
                return factory
        raise NotInCatalogError(
            f'the catalog entry of "{name}" says not what to build: add "factory", for example '
            f'"COCODataset"; it has {sorted(entry)}'
        )


class ModelCatalog:
    """Addresses of published weights, for `catalog://NAME`."""

    S3_C2_DETECTRON_URL = "https://dl.fbaipublicfiles.com/detectron"
    C2_IMAGENET_MODELS = {
        "MSRA/R-50": "ImageNetPretrained/MSRA/R-50.pkl",
        "MSRA/R-50-GN": "ImageNetPretrained/47261647/R-50-GN.pkl",
        "MSRA/R-101": "ImageNetPretrained/MSRA/R-101.pkl",
        "MSRA/R-101-GN": "ImageNetPretrained/47592356/R-101-GN.pkl",
        "FAIR/20171220/X-101-32x8d": "ImageNetPretrained/20171220/X-101-32x8d.pkl",
    }
    C2_DETECTRON_SUFFIX = (
        "output/train/{}coco_2014_train%3A{}coco_2014_valminusminival/"
        "generalized_rcnn/model_final.pkl"
    )
    # <model id>/<model name>: the signature in the address
    C2_DETECTRON_MODELS = {
        "35857197/e2e_faster_rcnn_R-50-C4_1x": "01_33_49.iAX0mXvW",
        "35857345/e2e_faster_rcnn_R-50-FPN_1x": "01_36_30.cUF7QR7I",
        "35857890/e2e_faster_rcnn_R-101-FPN_1x": "01_38_50.sNxI7sX7",
        "36761737/e2e_faster_rcnn_X-101-32x8d-FPN_1x": "06_31_39.5MIHi1fZ",
        "35858791/e2e_mask_rcnn_R-50-C4_1x": "01_45_57.ZgkA7hPB",
        "35858933/e2e_mask_rcnn_R-50-FPN_1x": "01_48_14.DzEQe4wC",
        "35861795/e2e_mask_rcnn_R-101-FPN_1x": "02_31_37.KqyEK4tT",
        "36761843/e2e_mask_rcnn_X-101-32x8d-FPN_1x": "06_35_59.RZotkLKI",
        "37129812/e2e_mask_rcnn_X-152-32x8d-FPN-IN5k_1.44x": "09_35_36.8pzTQKYK",
        "37697547/e2e_keypoint_rcnn_R-50-FPN_1x": "08_42_54.kdzV35ao",
    }

    MMROTATE_URL = "https://download.openmmlab.com/mmrotate/v0.1.0"
    MMROTATE_MODELS = {  # trained on DOTA-v1.0, Apache-2.0; the file's name ends in its checksum
        "oriented_rcnn_r50_fpn_1x_dota_le90": "oriented_rcnn/{0}/{0}-6d2b2ce0.pth",
    }

    @staticmethod
    def get(name: str) -> str:
        """Return the address of the weights of a name.

        Args:
            name: "ImageNetPretrained/<model>", "Caffe2Detectron/COCO/<id>/<model>" or
                "mmrotate/<model>".

        Raises:
            NotInCatalogError: there are no such weights.
        """
        sources = {
            "Caffe2Detectron/COCO/": (
                ModelCatalog.C2_DETECTRON_MODELS,
                ModelCatalog.get_c2_detectron_12_2017_baselines,
            ),
            "ImageNetPretrained/": (
                ModelCatalog.C2_IMAGENET_MODELS,
                ModelCatalog.get_c2_imagenet_pretrained,
            ),
            "mmrotate/": (ModelCatalog.MMROTATE_MODELS, ModelCatalog.get_mmrotate),
        }
        for prefix, (models, address) in sources.items():
            if name.removeprefix(prefix) in models and name.startswith(prefix):
                return address(name)
        known = [prefix + model for prefix, (models, _) in sources.items() for model in models]
        raise NotInCatalogError(
            f'model not present in the catalog: "{name}". Known: {", ".join(known)}'
        )

    @staticmethod
    def get_c2_imagenet_pretrained(name: str) -> str:
        """Return the address of a backbone trained on ImageNet."""
        path = ModelCatalog.C2_IMAGENET_MODELS[name.removeprefix("ImageNetPretrained/")]
        return f"{ModelCatalog.S3_C2_DETECTRON_URL}/{path}"

    @staticmethod
    def get_c2_detectron_12_2017_baselines(name: str) -> str:
        """Return the address of a detector that Detectron trained on COCO."""
        key = name.removeprefix("Caffe2Detectron/COCO/")
        model_id, model_name = key.split("/")
        run = f"{model_name}.yaml.{ModelCatalog.C2_DETECTRON_MODELS[key]}"
        task = "keypoints_" if "keypoint" in model_name else ""
        folder = f"{ModelCatalog.S3_C2_DETECTRON_URL}/{model_id}/12_2017_baselines/{run}"
        return f"{folder}/{ModelCatalog.C2_DETECTRON_SUFFIX.format(task, task)}"

    @staticmethod
    def get_mmrotate(name: str) -> str:
        """Return the address of an oriented detector of mmrotate's model zoo."""
        model = name.removeprefix("mmrotate/")
        return f"{ModelCatalog.MMROTATE_URL}/{ModelCatalog.MMROTATE_MODELS[model].format(model)}"
