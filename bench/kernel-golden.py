# What factorizations of the kernels that bench/kernel-golden.ts wrote leave out at least, relative to their Frobenius norm: truncated SVD in f64, and
# for Tucker-2 higher-order orthogonal iteration until it stands still.
import json
import sys

import numpy

folder = sys.argv[1]


def left(matrix, rank):
    return numpy.linalg.svd(matrix, full_matrices=False)[0][:, :rank]


def truncated(matrix, rank):
    values = numpy.linalg.svd(matrix, compute_uv=False)
    return float(numpy.sqrt((values[rank:] ** 2).sum() / (values**2).sum()))


def tucker(kernel, ranks):
    outputs, inputs = kernel.shape[:2]
    pixels = kernel.shape[2] * kernel.shape[3]
    cube = kernel.reshape(outputs, inputs, pixels)
    b = left(cube.transpose(1, 0, 2).reshape(inputs, -1), ranks[1])
    for _ in range(500):
        a = left(numpy.einsum("oip,ir->orp", cube, b).reshape(outputs, -1), ranks[0])
        b = left(numpy.einsum("oip,or->irp", cube, a).reshape(inputs, -1), ranks[1])
    core = numpy.einsum("oip,or,is->rsp", cube, a, b)
    return float(numpy.sqrt(1 - (core**2).sum() / (cube**2).sum()))


golden = {}
for i, kernel in enumerate(json.load(open(f"{folder}/index.json"))):
    values = numpy.fromfile(f"{folder}/{i}.f32", dtype="<f4").astype("f8").reshape(kernel["shape"])
    outputs, inputs, height, width = values.shape
    golden[kernel["name"]] = {
        "spatial": truncated(values.transpose(1, 2, 0, 3).reshape(inputs * height, outputs * width), kernel["spatial"]),
        "channel": truncated(values.reshape(outputs, -1), kernel["channel"]),
        "tucker": tucker(values, kernel["tucker"]),
    }
print("{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(errors)}" for name, errors in golden.items()) + "\n}")
