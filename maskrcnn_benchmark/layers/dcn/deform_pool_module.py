"""Modules of deformable RoI pooling (arXiv 1703.06211)."""

import torch
from torch import Tensor, nn

from .deform_pool_func import deform_roi_pooling


class DeformRoIPooling(nn.Module):
    """Module form of `deform_roi_pooling`, whose offsets the caller gives."""

    def __init__(
        self,
        spatial_scale: float,
        out_size: int,
        out_channels: int,
        no_trans: bool,
        group_size: int = 1,
        part_size: int | None = None,
        sample_per_part: int = 4,
        trans_std: float = 0.0,
    ) -> None:
        super().__init__()
        self.out_size, self.out_channels = out_size, out_channels
        self.group_size, self.part_size = group_size, part_size or out_size
        self.sample_per_part, self.spatial_scale = sample_per_part, spatial_scale
        self.no_trans, self.trans_std = no_trans, trans_std

    def forward(self, data: Tensor, rois: Tensor, offset: Tensor) -> Tensor:
        return self._pool(data, rois, None if self.no_trans else offset)

    def _pool(self, data: Tensor, rois: Tensor, offset: Tensor | None) -> Tensor:
        """Pool the cells moved by `offset`, or, if it is None, at their own places."""
        return deform_roi_pooling(
            data,
            rois,
            data.new_empty(0) if offset is None else offset,
            self.spatial_scale,
            self.out_size,
            self.out_channels,
            offset is None,
            self.group_size,
            self.part_size,
            self.sample_per_part,
            self.trans_std,
        )


class DeformRoIPoolingPack(DeformRoIPooling):
    """`deform_roi_pooling` that predicts its offsets from the cells pooled without offsets.

    Three linear layers predict them; at the start all are 0. State-dict keys:
    `offset_fc.{0,2,4}.*`.

    Args:
        deform_fc_channels: width of the two hidden layers.
        others: as in `deform_roi_pooling`.
    """

    def __init__(
        self,
        spatial_scale: float,
        out_size: int,
        out_channels: int,
        no_trans: bool,
        group_size: int = 1,
        part_size: int | None = None,
        sample_per_part: int = 4,
        trans_std: float = 0.0,
        deform_fc_channels: int = 1024,
    ) -> None:
        super().__init__(
            spatial_scale,
            out_size,
            out_channels,
            no_trans,
            group_size,
            part_size,
            sample_per_part,
            trans_std,
        )
        self.deform_fc_channels = deform_fc_channels
        if not no_trans:
            self._add_predictors()

    def _add_predictors(self) -> None:
        self.offset_fc = self._perceptron(2, hidden_layers=2)

    def _perceptron(self, planes: int, hidden_layers: int) -> nn.Sequential:
        """Build linear layers from the pooled cells to `planes` numbers per cell.

        The last layer starts with zeros.
        """
        cells = self.out_size**2
        widths = [cells * self.out_channels] + [self.deform_fc_channels] * hidden_layers
        layers: list[nn.Module] = []
        for width, next_width in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(width, next_width), nn.ReLU(inplace=True)]
        layers.append(nn.Linear(widths[-1], planes * cells))
        for parameter in layers[-1].parameters():
            nn.init.zeros_(parameter)
        return nn.Sequential(*layers)

    def _to_cells(self, numbers: Tensor) -> Tensor:
        return numbers.unflatten(1, (-1, self.out_size, self.out_size))

    def forward(self, data: Tensor, rois: Tensor) -> Tensor:
        if data.shape[1] != self.out_channels:
            raise ValueError(f"expected {self.out_channels} channels, got {data.shape[1]}")
        pooled = self._pool(data, rois, None)
        return pooled if self.no_trans else self._pool_moved(data, rois, pooled.flatten(1))

    def _pool_moved(self, data: Tensor, rois: Tensor, pooled: Tensor) -> Tensor:
        return self._pool(data, rois, self._to_cells(self.offset_fc(pooled)))


class ModulatedDeformRoIPoolingPack(DeformRoIPoolingPack):
    """DeformRoIPoolingPack that also predicts a weight in [0, 1] per cell, 0.5 at the start.

    State-dict keys: `offset_fc.{0,2,4}.*`, `mask_fc.{0,2}.*`.
    """

    def _add_predictors(self) -> None:
        super()._add_predictors()
        self.mask_fc = self._perceptron(1, hidden_layers=1)

    def _pool_moved(self, data: Tensor, rois: Tensor, pooled: Tensor) -> Tensor:
        weights = torch.sigmoid(self._to_cells(self.mask_fc(pooled)))
        return super()._pool_moved(data, rois, pooled) * weights
