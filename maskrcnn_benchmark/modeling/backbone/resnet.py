"""ResNet bodies and heads of any width (arXiv 1512.03385), built as Detectron builds them.

Stage 0 is the stem ("stem", stride 4); stages 1 to 4 are "layer1" to "layer4", which Detectron
calls res2 to res5, with strides 4, 8, 16, 32.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from yacs.config import CfgNode

from maskrcnn_benchmark.layers import Conv2d, DFConv2d, FrozenBatchNorm2d
from maskrcnn_benchmark.layers.batch_norm import convolve_and_normalize
from maskrcnn_benchmark.modeling.make_layers import group_norm
from maskrcnn_benchmark.utils.registry import Registry


class StageSpec(NamedTuple):
    """One stage of residual blocks.

    Attributes:
        index: 1 to 4.
        block_count: number of residual blocks.
        return_features: the body returns this stage's feature map.
    """

    index: int
    block_count: int
    return_features: bool


def _stages(block_counts: Sequence[int], every_stage: bool = False) -> tuple[StageSpec, ...]:
    last = len(block_counts)
    return tuple(StageSpec(i, n, every_stage or i == last) for i, n in enumerate(block_counts, 1))


ResNet50StagesTo5 = _stages((3, 4, 6, 3))
ResNet50StagesTo4 = _stages((3, 4, 6))
ResNet101StagesTo5 = _stages((3, 4, 23, 3))
ResNet101StagesTo4 = _stages((3, 4, 23))
ResNet50FPNStagesTo5 = _stages((3, 4, 6, 3), every_stage=True)
ResNet101FPNStagesTo5 = _stages((3, 4, 23, 3), every_stage=True)
ResNet152FPNStagesTo5 = _stages((3, 8, 36, 3), every_stage=True)


class ResNet(nn.Module):
    """ResNet body: the stem and the stages that `cfg.MODEL.BACKBONE.CONV_BODY` names.

    With `cfg.MODEL.CHECKPOINT_BODY` only the inputs of the residual blocks are kept in training.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        settings = cfg.MODEL.RESNETS
        self.stem = _STEM_MODULES[settings.STEM_FUNC](cfg)
        self.stages: list[str] = []
        self.return_features: dict[str, bool] = {}
        in_channels = settings.STEM_OUT_CHANNELS
        for spec in _STAGE_SPECS[cfg.MODEL.BACKBONE.CONV_BODY]:
            widening = 2 ** (spec.index - 1)
            out_channels = settings.RES2_OUT_CHANNELS * widening
            stage = _make_stage(
                _TRANSFORMATION_MODULES[settings.TRANS_FUNC],
                in_channels,
                settings.NUM_GROUPS * settings.WIDTH_PER_GROUP * widening,
                out_channels,
                spec.block_count,
                settings.NUM_GROUPS,
                settings.STRIDE_IN_1X1,
                first_stride=1 if spec.index == 1 else 2,
                dcn_config={
                    "stage_with_dcn": settings.STAGE_WITH_DCN[spec.index - 1],
                    "with_modulated_dcn": settings.WITH_MODULATED_DCN,
                    "deformable_groups": settings.DEFORMABLE_GROUPS,
                },
            )
            in_channels = out_channels
            name = f"layer{spec.index}"
            self.add_module(name, stage)
            self.stages.append(name)
            self.return_features[name] = spec.return_features
        self.checkpoint_blocks = cfg.MODEL.CHECKPOINT_BODY
        self._freeze_backbone(cfg.MODEL.BACKBONE.FREEZE_CONV_BODY_AT)

    def _freeze_backbone(self, freeze_at: int) -> None:
        """Freeze the parameters of the first `freeze_at` parts; the stem is the first part."""
        for name in ["stem", *self.stages][: max(freeze_at, 0)]:
            getattr(self, name).requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps of images (N, 3, H, W), finest first.

        Stage i gives (N, RES2_OUT_CHANNELS * 2^(i - 1), H / 2^(i + 1), W / 2^(i + 1)).
        """
        x = self.stem(x)
        results = []
        for name in self.stages:
            x = self._run_stage(getattr(self, name), x)
            if self.return_features[name]:
                results.append(x)
        return results

    def _run_stage(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        if not (self.checkpoint_blocks and self.training):
            return stage(x)
        for block in stage:  # which draw no random numbers
            x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
        return x


class ResNetHead(nn.Module):
    """The last stages of a ResNet, applied to pooled features.

    Args:
        block_module: name in `_TRANSFORMATION_MODULES`.
        stages: consecutive stages; the first takes the channels of the stage before it.
        num_groups, width_per_group: groups of the 3x3 convolutions, and channels per group in
            stage 1.
        stride_in_1x1, dcn_config: see Bottleneck.
        stride_init: stride of the first stage; None: 2 (1 for stage 1).
        res2_out_channels: channels that stage 1 returns; each later stage doubles them.
        dilation: of the 3x3 convolutions; above 1, all strides are 1.
    """

    def __init__(
        self,
        block_module: str,
        stages: Sequence[StageSpec],
        num_groups: int = 1,
        width_per_group: int = 64,
        stride_in_1x1: bool = True,
        stride_init: int | None = None,
        res2_out_channels: int = 256,
        dilation: int = 1,
        dcn_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.stages: list[str] = []
        for spec in stages:
            widening = 2 ** (spec.index - 1)
            self.out_channels = res2_out_channels * widening
            stage = _make_stage(
                _TRANSFORMATION_MODULES[block_module],
                self.out_channels // 2,
                num_groups * width_per_group * widening,
                self.out_channels,
                spec.block_count,
                num_groups,
                stride_in_1x1,
                first_stride=stride_init or (1 if spec.index == 1 else 2),
                dilation=dilation,
                dcn_config=dcn_config,
            )
            stride_init = None
            name = f"layer{spec.index}"
            self.stages.append(name)
            self.add_module(name, stage)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.stages:
            x = getattr(self, name)(x)
        return x


def _make_stage(
    transformation_module: Callable[..., nn.Module],
    in_channels: int,
    bottleneck_channels: int,
    out_channels: int,
    block_count: int,
    num_groups: int,
    stride_in_1x1: bool,
    first_stride: int,
    dilation: int = 1,
    dcn_config: dict[str, Any] | None = None,
) -> nn.Sequential:
    return nn.Sequential(
        *(
            transformation_module(
                out_channels if i else in_channels,
                bottleneck_channels,
                out_channels,
                num_groups,
                stride_in_1x1,
                1 if i else first_stride,
                dilation=dilation,
                dcn_config=dcn_config,
            )
            for i in range(block_count)
        )
    )


class Bottleneck(nn.Module):
    """Residual block: 1x1, 3x3 and 1x1 convolutions and a shortcut.

    Args:
        bottleneck_channels: channels of the 3x3 convolution.
        num_groups: groups of the 3x3 convolution.
        stride_in_1x1: True: the stride is in the first 1x1 (MSRA's models); False: in the 3x3.
        dilation: of the 3x3 convolution; above 1, the stride is 1.
        norm_func: `norm_func(channels)` builds the norm after each convolution.
        dcn_config: with a true "stage_with_dcn" the 3x3 is a DFConv2d with the settings
            "with_modulated_dcn" and "deformable_groups"; None: a plain convolution.
    """

    def __init__(
        self,
        in_channels: int,
        bottleneck_channels: int,
        out_channels: int,
        num_groups: int,
        stride_in_1x1: bool,
        stride: int,
        dilation: int,
        norm_func: Callable[[int], nn.Module],
        dcn_config: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        if dilation > 1:
            stride = 1
        self.downsample = None
        if in_channels != out_channels:
            projection = Conv2d(in_channels, out_channels, 1, stride, bias=False)
            nn.init.kaiming_uniform_(projection.weight, a=1)
            self.downsample = nn.Sequential(projection, norm_func(out_channels))

        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = Conv2d(in_channels, bottleneck_channels, 1, stride_1x1, bias=False)
        self.bn1 = norm_func(bottleneck_channels)
        self.conv2 = _conv3x3(
            bottleneck_channels, stride_3x3, num_groups, dilation, dcn_config or {}
        )
        self.bn2 = norm_func(bottleneck_channels)
        self.conv3 = Conv2d(bottleneck_channels, out_channels, 1, bias=False)
        self.bn3 = norm_func(out_channels)
        for conv in (self.conv1, self.conv3):
            nn.init.kaiming_uniform_(conv.weight, a=1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu_(convolve_and_normalize(self.conv1, self.bn1, x))
        out = F.relu_(convolve_and_normalize(self.conv2, self.bn2, out))
        out = convolve_and_normalize(self.conv3, self.bn3, out)
        out += x if self.downsample is None else convolve_and_normalize(*self.downsample, x)
        return F.relu_(out)


def _conv3x3(
    channels: int, stride: int, groups: int, dilation: int, dcn_config: dict[str, Any]
) -> nn.Module:
    if dcn_config.get("stage_with_dcn", False):
        return DFConv2d(
            channels,
            channels,
            dcn_config.get("with_modulated_dcn", False),
            stride=stride,
            groups=groups,
            dilation=dilation,
            deformable_groups=dcn_config.get("deformable_groups", 1),
        )
    conv = Conv2d(channels, channels, 3, stride, dilation, dilation, groups, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return conv


class BaseStem(nn.Module):
    """Stem: 7x7 convolution of stride 2 and max pooling of stride 2."""

    def __init__(self, cfg: CfgNode, norm_func: Callable[[int], nn.Module]) -> None:
        super().__init__()
        channels = cfg.MODEL.RESNETS.STEM_OUT_CHANNELS
        self.conv1 = Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_uniform_(self.conv1.weight, a=1)
        self.bn1 = norm_func(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(convolve_and_normalize(self.conv1, self.bn1, x))
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class _BottleneckWithNorm(Bottleneck):
    """Bottleneck whose norm the class decides."""

    norm_func: Callable[[int], nn.Module]

    def __init__(
        self,
        in_channels: int,
        bottleneck_channels: int,
        out_channels: int,
        num_groups: int = 1,
        stride_in_1x1: bool = True,
        stride: int = 1,
        dilation: int = 1,
        dcn_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            bottleneck_channels,
            out_channels,
            num_groups,
            stride_in_1x1,
            stride,
            dilation,
            self.norm_func,
            dcn_config,
        )


class BottleneckWithFixedBatchNorm(_BottleneckWithNorm):
    """Bottleneck with FrozenBatchNorm2d."""

    norm_func = FrozenBatchNorm2d


class BottleneckWithGN(_BottleneckWithNorm):
    """Bottleneck with GroupNorm."""

    norm_func = staticmethod(group_norm)


class StemWithFixedBatchNorm(BaseStem):
    """Stem with FrozenBatchNorm2d."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(cfg, FrozenBatchNorm2d)


class StemWithGN(BaseStem):
    """Stem with GroupNorm."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(cfg, group_norm)


_TRANSFORMATION_MODULES = Registry(
    {
        "BottleneckWithFixedBatchNorm": BottleneckWithFixedBatchNorm,
        "BottleneckWithGN": BottleneckWithGN,
    }
)

_STEM_MODULES = Registry(
    {"StemWithFixedBatchNorm": StemWithFixedBatchNorm, "StemWithGN": StemWithGN}
)

_STAGE_SPECS = Registry(
    {
        "R-50-C4": ResNet50StagesTo4,
        "R-50-C5": ResNet50StagesTo5,
        "R-101-C4": ResNet101StagesTo4,
        "R-101-C5": ResNet101StagesTo5,
        "R-50-FPN": ResNet50FPNStagesTo5,
        "R-50-FPN-RETINANET": ResNet50FPNStagesTo5,
        "R-101-FPN": ResNet101FPNStagesTo5,
        "R-101-FPN-RETINANET": ResNet101FPNStagesTo5,
        "R-152-FPN": ResNet152FPNStagesTo5,
    }
)
