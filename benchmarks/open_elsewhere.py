"""Open an ONNX artifact with optimum-onnx's ORTModelForSequenceClassification and print its logits.

Use:  nox -s interop -- ARTIFACT_DIR
"""

import sys
from pathlib import Path

from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import PreTrainedTokenizerFast


def main(folder: str) -> None:
    """Load model and tokenizer from `folder` and run one sentence."""
    model = ORTModelForSequenceClassification.from_pretrained(folder)
    # tokenizer_config.json may name a class that only a newer transformers has; tokenizer.json is enough
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"))
    inputs = tokenizer(["the quick brown fox jumps over the lazy dog ."], return_tensors="pt")
    logits = model(**inputs).logits
    if logits.ndim != 2 or not bool(logits.isfinite().all()):
        sys.exit(f"{folder}: logits of shape {tuple(logits.shape)} are no finite [rows, classes]")
    print(f"{folder}: opens in ORTModelForSequenceClassification, logits {logits.tolist()}")


if __name__ == "__main__":
    main(sys.argv[1])
