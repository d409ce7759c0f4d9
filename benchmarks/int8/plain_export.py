"""PyTorch's export of a classifier as it comes: what a user has who runs none of our passes."""

from pathlib import Path


def export_plainly(folder: Path, *, to: Path) -> None:
    """Write the ONNX model of a Hugging Face classifier folder to the file `to`, by `torch.onnx.export` alone."""
    from compressbench.models.loading import load_classifier
    from compressbench.models.onnx_tracing import traced

    traced(load_classifier(folder)).save(str(to))
