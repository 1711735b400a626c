"""The operators of the original's compiled extension, on any device, through torchvision.

Names, order of arguments and effects are the extension's. Functions that return no tensor write
into their arguments: results are copied into outputs; gradients of inputs, weights and biases are
added to what the tensors hold, those of offsets and masks replace it. The scratch buffers
`columns` and `ones` are not used. Kernel sizes, strides, paddings and dilations come width first
in `deform_conv_*` and height first in `modulated_deform_conv_*`.
"""

import torch
from torch import Tensor

from maskrcnn_benchmark.layers.dcn.deform_conv_func import deform_conv, modulated_deform_conv
from maskrcnn_benchmark.layers.dcn.deform_pool_func import deform_roi_pooling_with_count
from maskrcnn_benchmark.layers.nms import nms as _nms
from maskrcnn_benchmark.layers.roi_align import roi_align
from maskrcnn_benchmark.layers.sigmoid_focal_loss import sigmoid_focal_loss_cpu


def nms(dets: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Suppress as `layers.nms`; boxes (N, 4) and scores (N,) may have different dtypes."""
    return _nms(dets, scores, threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
) -> Tensor:
    """Pool as `layers.roi_align`; return (K, C, pooled_height, pooled_width)."""
    return roi_align(input, rois, (pooled_height, pooled_width), spatial_scale, sampling_ratio)


def roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    batch_size: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
) -> Tensor:
    """Return the gradient of the feature map, (batch_size, channels, height, width)."""
    shape = (batch_size, channels, height, width)
    return torch.ops.torchvision._roi_align_backward(
        grad, rois, spatial_scale, pooled_height, pooled_width, *shape, sampling_ratio, False
    )


def roi_pool_forward(
    input: Tensor, rois: Tensor, spatial_scale: float, pooled_height: int, pooled_width: int
) -> tuple[Tensor, Tensor]:
    """Max-pool the boxes `rois` (K, 5) of the feature map `input` (N, C, H, W).

    Returns:
        the maxima and their places, both (K, C, pooled_height, pooled_width); a place is an int32
        index into the flattened H x W plane, -1 for an empty cell.
    """
    return torch.ops.torchvision.roi_pool(input, rois, spatial_scale, pooled_height, pooled_width)


def roi_pool_backward(
    grad: Tensor,
    input: Tensor,
    rois: Tensor,
    argmax: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    batch_size: int,
    channels: int,
    height: int,
    width: int,
) -> Tensor:
    """Return the gradient of the feature map; `input` is not read."""
    shape = (batch_size, channels, height, width)
    return torch.ops.torchvision._roi_pool_backward(
        grad, rois, argmax, spatial_scale, pooled_height, pooled_width, *shape
    )


def sigmoid_focalloss_forward(
    logits: Tensor, targets: Tensor, num_classes: int, gamma: float, alpha: float
) -> Tensor:
    """Return the losses of `layers.SigmoidFocalLoss`, not summed, (N, num_classes)."""
    return sigmoid_focal_loss_cpu(logits.detach(), targets, gamma, alpha)


def sigmoid_focalloss_backward(
    logits: Tensor,
    targets: Tensor,
    d_losses: Tensor,
    num_classes: int,
    gamma: float,
    alpha: float,
) -> Tensor:
    """Return the gradient of the logits, (N, num_classes)."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        losses = sigmoid_focal_loss_cpu(leaf, targets, gamma, alpha)
        return torch.autograd.grad(losses, leaf, d_losses)[0]


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> int:
    """Fill `output` with the deformable convolution (dW, dH: the stride) and return 1."""
    geometry = (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group
    with torch.no_grad():
        output.copy_(deform_conv(input, offset, weight, *geometry).view_as(output))
    return 1


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> int:
    """Add to `gradInput`, fill `gradOffset` and return 1."""
    geometry = (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group
    grads = _deform_conv_grads(input, weight, offset, None, gradOutput, geometry)
    gradInput += grads[0].view_as(gradInput)
    gradOffset.copy_(grads[2].view_as(gradOffset))
    return 1


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> int:
    """Add `scale` times the gradient to `gradWeight` and return 1."""
    geometry = (dH, dW), (padH, padW), (dilationH, dilationW), group, deformable_group
    # The weight's gradient does not depend on the weight; only its shape is read.
    weight = torch.zeros_like(gradWeight)
    grads = _deform_conv_grads(input, weight, offset, None, gradOutput, geometry)
    gradWeight.add_(grads[1], alpha=scale)
    return 1


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Fill `output` with the modulated deformable convolution."""
    geometry = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    with torch.no_grad():
        result = modulated_deform_conv(
            input,
            offset,
            mask,
            weight,
            bias if with_bias else None,
            *geometry,
            group,
            deformable_group,
        )
        output.copy_(result.view_as(output))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Add to grad_input, grad_weight and grad_bias; fill grad_offset and grad_mask."""
    strides, paddings = (stride_h, stride_w), (pad_h, pad_w)
    geometry = strides, paddings, (dilation_h, dilation_w), group, deformable_group
    grads = _deform_conv_grads(input, weight, offset, mask, grad_output, geometry)
    grad_input += grads[0].view_as(grad_input)
    grad_weight += grads[1]
    grad_offset.copy_(grads[2])
    grad_mask.copy_(grads[3])
    if with_bias:
        grad_bias += grads[4]


def _deform_conv_grads(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    grad_output: Tensor,
    geometry: tuple,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return torchvision's gradients of input, weight, offset, mask and bias."""
    strides, paddings, dilations, groups, deformable_groups = geometry
    use_mask = mask is not None
    return torch.ops.torchvision._deform_conv2d_backward(
        grad_output.contiguous(),
        input,
        weight,
        offset,
        mask if use_mask else input.new_zeros(len(input), 1),
        weight.new_zeros(len(weight)),
        *strides,
        *paddings,
        *dilations,
        groups,
        deformable_groups,
        use_mask,
    )


def deform_psroi_pooling_forward(
    input: Tensor,
    bbox: Tensor,
    trans: Tensor,
    out: Tensor,
    top_count: Tensor,
    no_trans: int,
    spatial_scale: float,
    output_dim: int,
    group_size: int,
    pooled_size: int,
    part_size: int,
    sample_per_part: int,
    trans_std: float,
) -> None:
    """Fill `out` as `layers.deform_roi_pooling`, and `top_count` with its numbers of samples."""
    sizes = group_size, part_size, sample_per_part, trans_std
    with torch.no_grad():
        pooled, count = deform_roi_pooling_with_count(
            input, bbox, trans, spatial_scale, pooled_size, output_dim, bool(no_trans), *sizes
        )
        out.copy_(pooled)
        top_count.copy_(count)


def deform_psroi_pooling_backward(
    out_grad: Tensor,
    input: Tensor,
    bbox: Tensor,
    trans: Tensor,
    top_count: Tensor,
    input_grad: Tensor,
    trans_grad: Tensor,
    no_trans: int,
    spatial_scale: float,
    output_dim: int,
    group_size: int,
    pooled_size: int,
    part_size: int,
    sample_per_part: int,
    trans_std: float,
) -> None:
    """Add to `input_grad` and, unless `no_trans`, to `trans_grad`; `top_count` is not read."""
    sizes = group_size, part_size, sample_per_part, trans_std
    with torch.enable_grad():
        leaves = [input.detach().requires_grad_()]
        if not no_trans:
            leaves.append(trans.detach().requires_grad_())
        pooled, _ = deform_roi_pooling_with_count(
            leaves[0],
            bbox,
            leaves[-1],
            spatial_scale,
            pooled_size,
            output_dim,
            bool(no_trans),
            *sizes,
        )
        grads = torch.autograd.grad(pooled, leaves, out_grad.to(pooled.dtype))
    input_grad += grads[0]
    if not no_trans:
        trans_grad += grads[1]
