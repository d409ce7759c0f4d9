"""INT8 quantization with ONNX Runtime; importing this package registers the three variants."""

from compressbench.methods.quantize import dynamic as dynamic
from compressbench.methods.quantize import qdq as qdq
from compressbench.methods.quantize import qop as qop
