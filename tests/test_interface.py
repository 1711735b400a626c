"""The original's public names: where they are imported from, and how they are called.

interface.txt lists them, as a program read them from the original's sources: one line per module,
and below it one line per name, functions with parameters, classes with base and methods.
"""

import ast
import importlib
import inspect
import math
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

INTERFACE = Path(__file__).with_name("interface.txt")

# What public projects import, counted in 18 of them; the most used first.
USED_BY_PROJECTS = """
config.cfg
modeling.detector.build_detection_model utils.checkpoint.DetectronCheckpointer
structures.bounding_box.BoxList
structures.image_list.to_image_list solver.make_optimizer solver.make_lr_scheduler
utils.comm.synchronize utils.comm.get_rank utils.logger.setup_logger utils.miscellaneous.mkdir
utils.collect_env.collect_env_info utils.model_serialization.load_state_dict
structures.boxlist_ops.boxlist_iou data.make_data_loader engine.inference.inference
utils.env.setup_environment utils.imports.import_file
engine.trainer.do_train modeling.roi_heads.mask_head.inference.Masker modeling.utils.cat
layers.nms structures.boxlist_ops.cat_boxlist modeling.box_coder.BoxCoder
utils.checkpoint.Checkpointer data.samplers.GroupedBatchSampler
data.samplers.IterationBasedBatchSampler
modeling.matcher.Matcher modeling.registry modeling.backbone.build_backbone
structures.segmentation_mask.SegmentationMask utils.metric_logger.MetricLogger utils.cv2_util
modeling.rpn.rpn.build_rpn modeling.roi_heads.roi_heads.build_roi_heads
structures.keypoint.PersonKeypoints layers.Conv2d
utils.miscellaneous.save_config layers.DFConv2d structures.boxlist_ops.remove_small_boxes
modeling.make_layers.make_conv3x3 modeling.make_layers.make_fc modeling.make_layers.group_norm
layers.FrozenBatchNorm2d utils.registry.Registry modeling.poolers.Pooler
structures.boxlist_ops.boxlist_nms
modeling.roi_heads.box_head.roi_box_feature_extractors.make_roi_box_feature_extractor
modeling.rpn.utils.permute_and_flatten layers.SigmoidFocalLoss
_C.nms _C.roi_align_forward _C.roi_align_backward
modeling.backbone.fpn modeling.rpn.inference modeling.poolers.LevelMapper
modeling.roi_heads.box_head.loss.make_roi_box_loss_evaluator data.build.make_batch_data_sampler
engine.trainer.reduce_loss_dict
""".split()


def read_interface() -> dict[str, list[str]]:
    modules: dict[str, list[str]] = {}
    for line in INTERFACE.read_text().splitlines():
        if line.startswith(" "):
            modules[list(modules)[-1]].append(line.strip())
        else:
            modules[line] = []
    return modules


def compare_calls(signature: str, found: Any) -> str:
    """Return why `found` rejects a call that `signature` allows; "" if it accepts all of them.

    `found` may have more parameters with defaults, and defaults where the original has none. Its
    default None is accepted for an empty list or dict.
    """
    arguments = ast.parse(f"def f{signature}: pass").body[0].args
    names = [argument.arg for argument in arguments.args]
    defaults = [eval(ast.unparse(node), {"math": math}) for node in arguments.defaults]
    parameters = list(inspect.signature(found).parameters.values())
    if [parameter.name for parameter in parameters[: len(names)]] != names:
        return f"expected {names}, got {[parameter.name for parameter in parameters]}"
    with_default = parameters[len(names) - len(defaults) : len(names)]
    for parameter, default in zip(with_default, defaults, strict=True):
        if parameter.default != default and not (default in ([], {}) and parameter.default is None):
            return f"{parameter.name}: expected {default!r}, got {parameter.default!r}"
    for parameter in parameters[len(names) :]:
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if not variadic and parameter.default is parameter.empty:
            return f"{parameter.name} has no default"
    return ""


def compare_class(base: str, methods: str, found: Any) -> list[str]:
    """What a class lacks of its base and methods."""
    if not inspect.isclass(found):
        return ["is no class"]
    lacks = []
    ancestors = {ancestor.__name__.strip("_") for ancestor in found.__mro__}
    # autograd derives the gradients of what the original wrote as a Function
    if base.rpartition(".")[2].strip("_") not in ancestors | {"Function"}:
        lacks.append(f"is no {base}")
    if found.__module__.startswith("torch."):  # that base itself
        return lacks
    for method in filter(None, methods.split("; ")):
        name, parameters = re.match(r"(\w+)(.*)", method).groups()
        value = inspect.getattr_static(found, name, None)
        if value is None:
            lacks.append(f"no {name}")
        elif not isinstance(value, property):
            difference = compare_calls(parameters, getattr(value, "__func__", value))
            lacks += [f"{name}: {difference}"] if difference else []
    return lacks


@pytest.mark.parametrize(("module_name", "names"), read_interface().items())
def test_module_has_the_original_names_and_signatures(module_name, names):
    module = importlib.import_module(module_name)
    lacks = []
    for line in names:
        is_class, name, parameters, methods = re.fullmatch(
            r"(class )?(\w+)(\(.*?\)(?=: |$))?(?:: (.*))?", line
        ).groups()
        if not hasattr(module, name):
            lacks.append(f"no {name}")
            continue
        found = getattr(module, name)
        if is_class:
            differences = compare_class(parameters[1:-1], methods or "", found)
        elif parameters:
            differences = list(filter(None, [compare_calls(parameters, found)]))
        else:
            differences = []
        lacks += [f"{name} {difference}" for difference in differences]
    assert not lacks


@pytest.mark.parametrize("name", USED_BY_PROJECTS)
def test_name_that_projects_use_is_there(name):
    assert pkgutil.resolve_name(f"maskrcnn_benchmark.{name}") is not None


def test_comparison_tells_what_differs():
    def found(a, b=1, c=None, *rest, d=2):
        pass

    assert not compare_calls("(a, b=1, c=[])", found) and not compare_calls("(a, b)", found)
    assert "expected ['b'" in compare_calls("(b, a)", found)
    assert "b: expected 2, got 1" in compare_calls("(a, b=2)", found)
    assert "b has no default" in compare_calls("(a)", lambda a, b: None)
    assert compare_class("Parent", "run(self)", dict) == ["is no Parent", "no run"]
    assert compare_class("object", "", 1) == ["is no class"]
    assert len(read_interface()) > 90
