"""INT8 against fp32 by figures: latency in each runtime, size, agreement with fp32, and what computes in INT8.

    python -m benchmarks.int8 --teacher DIR --student DIR --data-dir GLUE --rounds 15 --runtimes onnxruntime,openvino

The baseline is the fp32 export that every row of this suite is compared with, in ONNX Runtime; PyTorch's plain export
of the same model is a row of its own. Blocks of all models, runtimes and shapes are interleaved by the harness,
speedups are paired by round. Each figure stands beside the number to reach, which is meant for a CPU with VNNI: on
another the table says so.
"""
