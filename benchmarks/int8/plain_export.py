"""PyTorch's export of a classifier as it comes: what a user has who runs none of our passes."""

from pathlib import Path


def export_plainly(folder: Path, *, to: Path) -> None:
    """Write the ONNX model of a Hugging Face classifier folder to the file `to`, by `torch.onnx.export` alone."""
    import torch

    from compressbench.models.loading import accepted_inputs, load_classifier
    from compressbench.models.onnx_export import quiet_libraries

    model = load_classifier(folder)
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in accepted_inputs(model)]

    class Logits(torch.nn.Module):
        """The model with named inputs, and logits as its only output."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(**dict(zip(names, arrays, strict=True))).logits
            return logits

    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    with quiet_libraries():
        program = torch.onnx.export(
            Logits().eval(),
            tuple(torch.ones((2, 16), dtype=torch.int64) for _ in names),
            input_names=names,
            output_names=["logits"],
            dynamo=True,
            dynamic_shapes={"arrays": tuple(axes for _ in names)},
            verbose=False,
        )
    assert program is not None  # None is for the old exporter
    program.save(str(to))
