"""INT8 quantization with ONNX Runtime; importing this package registers the variants."""

from compressbench.methods.quantize import dynamic as dynamic
from compressbench.methods.quantize import nncf as nncf
from compressbench.methods.quantize import qdq as qdq
from compressbench.methods.quantize import qop as qop
