"""The least there can be: uvicorn, a picture decoded, onnxruntime, JSON. No checks, no batches."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from PIL import Image

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(str(Path(sys.argv[1]) / "model.onnx"), options)
(given,) = session.get_inputs()
name = session.get_outputs()[0].name


async def app(scope, receive, send):
    body = b"{}"
    if scope["method"] == "POST":
        sent = (await receive())["body"]
        x = np.asarray(Image.open(io.BytesIO(sent)))[None, :, :, None]
        body = json.dumps(session.run([name], {given.name: x})[0][0].tolist()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", lifespan="off", access_log=False)
