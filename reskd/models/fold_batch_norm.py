"""Folds batch norm into the convolutions before it: the same function in eval mode, with fewer passes over each map."""

from __future__ import annotations

import copy
from collections import Counter

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from reskd.models.video_model import VideoModel

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norm(model: VideoModel) -> VideoModel:
    """A copy in eval mode, with each batch norm folded into the convolution before it.

    A batch norm is folded only if nothing else reads the convolution; others stay. The copy equals the model in eval
    mode up to rounding. It cannot be trained, since its statistics are gone, and its state dict fits no other model.
    Raises TypeError if torch.fx cannot trace a backbone that has batch norms to fold.
    """
    folded = copy.deepcopy(model).eval()
    backbone = folded.backbone
    if not any(isinstance(module, NORMS) for module in backbone.modules()):
        return folded
    for conv_name, norm_name in _pairs(backbone):
        conv, norm = backbone.get_submodule(conv_name), backbone.get_submodule(norm_name)
        assert isinstance(conv, CONVS)
        assert isinstance(norm, NORMS)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        # In place: our convolutions may share an object, which a copy would lose.
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        backbone.set_submodule(norm_name, nn.Identity().eval())
    return folded


class _Tracer(fx.Tracer):
    """Traces into all modules except convolutions and norms (and their subclasses)."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*CONVS, *NORMS)) or super().is_leaf_module(m, module_qualified_name)


def _pairs(backbone: nn.Module) -> list[tuple[str, str]]:
    """Names of (convolution, batch norm) pairs: each is called once, and only the norm reads the convolution's
    output."""
    try:
        graph = _Tracer().trace(backbone)
    except Exception as error:  # errors of a forward with a proxy have no common type
        raise TypeError(f"torch.fx cannot trace the backbone ({error}), so its batch norm is not folded") from error
    modules = dict(backbone.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    num_calls = Counter(id(modules[str(node.target)]) for node in calls)
    pairs = []
    for node in calls:
        norm = modules[str(node.target)]
        if not isinstance(norm, NORMS) or norm.running_mean is None:
            continue
        source = node.args[0]
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        conv = modules[str(source.target)]
        if isinstance(conv, CONVS) and num_calls[id(conv)] == num_calls[id(norm)] == 1:
            pairs.append((str(source.target), str(node.target)))
    return pairs
