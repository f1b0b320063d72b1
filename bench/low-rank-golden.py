# Singular values of the matrices that bench/low-rank-golden.ts wrote, by LAPACK in f64.
import json
import sys

import numpy

folder = sys.argv[1]
golden = {}
for i, matrix in enumerate(json.load(open(f"{folder}/index.json"))):
    values = numpy.fromfile(f"{folder}/{i}.f32", dtype="<f4").astype("f8").reshape(matrix["rows"], matrix["columns"])
    scale = numpy.abs(values).max() or 1.0
    found = numpy.linalg.svd(values / scale, compute_uv=False) * scale
    golden[matrix["name"]] = [float(f"{value:.9e}") for value in found]
print("{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in golden.items()) + "\n}")
