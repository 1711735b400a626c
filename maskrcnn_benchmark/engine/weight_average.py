"""The exponential moving average of the weights, which is evaluated instead of the last ones."""

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from maskrcnn_benchmark.utils.checkpoint import AVERAGED


class WeightAverage:
    """Average the weights of a training: new average = decay * average + (1 - decay) * weights.

    It begins with the weights after its first update. Buffers, such as BatchNorm's running means,
    are those of the model.

    Args:
        model: the one that is trained, not wrapped.
        decay: as SOLVER.EMA, below 1; 0: there is no average, and nothing is done.
        arguments: what the checkpoint holds beside the weights; its AVERAGED are those of the run
            that goes on, and become those of now. Where there is no average, they are taken out.
    """

    def __init__(self, model: nn.Module, decay: float, arguments: dict[str, Any]) -> None:
        self._averaged = None
        state = arguments.pop(AVERAGED, None)
        if decay > 0:
            self._averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
            if state is not None:
                self._averaged.module.load_state_dict(state)
                self._averaged.n_averaged += 1  # else the first update begins anew
            arguments[AVERAGED] = self._averaged.module.state_dict()  # shares the average's memory

    def update(self, model: nn.Module) -> None:
        """Take the weights after a step into the average."""
        if self._averaged is not None:
            self._averaged.update_parameters(model)

    def or_else(self, model: nn.Module) -> nn.Module:
        """Return a model with the averaged weights; where there is no average, `model` itself."""
        return model if self._averaged is None else self._averaged.module
