"""Purify one image by an exported file, with onnxruntime, numpy and Pillow alone.

nrpurify export fast --out fast.onnx
python examples/purify_onnx.py fast.onnx photo.jpg purified.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

model, source, target = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["nrpurify"])
print(about["purifiers"][0]["card"]["name"], about["purifiers"][0]["strength"])

pixels = np.asarray(Image.open(source).convert("RGB"), np.float32) / 255
(purified,) = session.run(None, {"images": pixels.transpose(2, 0, 1)[None]})
Image.fromarray((255 * purified[0].transpose(1, 2, 0)).round().astype(np.uint8)).save(target)
