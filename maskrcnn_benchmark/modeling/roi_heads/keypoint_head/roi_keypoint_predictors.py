"""The keypoint head's last layers: for each keypoint one logit per cell."""

from torch import Tensor, nn

from maskrcnn_benchmark.layers import ConvTranspose2d, interpolate
from maskrcnn_benchmark.modeling import registry


@registry.ROI_KEYPOINT_PREDICTOR.register("KeypointRCNNPredictor")
class KeypointRCNNPredictor(nn.Module):
    """Double the grid by a transposed convolution, and once more bilinearly."""

    def __init__(self, cfg, in_channels: int):
        super().__init__()
        self.out_channels = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES
        self.up_scale = 2
        self.kps_score_lowres = ConvTranspose2d(
            in_channels, self.out_channels, kernel_size=4, stride=2, padding=1
        )
        nn.init.kaiming_normal_(self.kps_score_lowres.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.kps_score_lowres.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return [R, keypoints, 4H, 4W] from [R, C, H, W]."""
        return interpolate(
            self.kps_score_lowres(x),
            scale_factor=self.up_scale,
            mode="bilinear",
            align_corners=False,
        )


def make_roi_keypoint_predictor(cfg, in_channels: int) -> nn.Module:
    """Build the predictor that MODEL.ROI_KEYPOINT_HEAD.PREDICTOR names."""
    head = cfg.MODEL.ROI_KEYPOINT_HEAD
    return registry.ROI_KEYPOINT_PREDICTOR[head.PREDICTOR](cfg, in_channels)
