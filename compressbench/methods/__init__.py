"""The built-in methods; importing this package registers them, as any package's entry point does."""

from compressbench.methods import distill as distill
from compressbench.methods import finetune as finetune
from compressbench.methods import prune as prune
from compressbench.methods import quantize as quantize
from compressbench.methods import sparsegpt as sparsegpt
