"""Weights, moments and generators of a training as named tensors, and back in place."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compressbench.methods.checkpoint import Snapshot


def state_of(modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, *, device: str) -> dict[str, Tensor]:
    """Every parameter and buffer, the optimizer's moments, and torch's generators; views where they lie in memory."""
    tensors = {f"module.{name}": each.detach().contiguous() for name, each in _named_tensors(modules).items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": each.contiguous() for name, each in values.items()}
    tensors["generator.cpu"] = torch.get_rng_state()
    if device == "cuda":
        tensors["generator.cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore(snapshot: Snapshot, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> bool:
    """Put the state of `state_of` back; False, and nothing is changed, if it is not of these modules."""
    found, wanted = snapshot.part("module"), _named_tensors(modules)
    moments = _moments(snapshot)
    groups = optimizer.state_dict()["param_groups"]
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    if {name: each.shape for name, each in found.items()} != {name: each.shape for name, each in wanted.items()}:
        return False
    if any(number >= len(parameters) for number in moments):
        return False
    with torch.no_grad():
        for name, each in wanted.items():
            each.copy_(found[name])
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    generators = snapshot.part("generator")
    torch.set_rng_state(generators["cpu"])
    if "cuda" in generators and torch.cuda.is_available():
        torch.cuda.set_rng_state(generators["cuda"])
    return True


def _named_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Parameters and buffers, shared ones once."""
    return {
        f"{name}.{key}": each
        for name, module in modules.items()
        for key, each in (*module.named_parameters(), *module.named_buffers())
    }


def _moments(snapshot: Snapshot) -> dict[int, dict[str, Tensor]]:
    moments: dict[int, dict[str, Tensor]] = {}
    for name, each in snapshot.part("optimizer").items():
        number, _, key = name.partition(".")
        moments.setdefault(int(number), {})[key] = each
    return moments
