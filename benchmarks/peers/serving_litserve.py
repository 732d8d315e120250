"""The same classifier behind LitServe, with its batching on."""

import io
import sys
from pathlib import Path

import litserve as ls
import numpy as np
import torch
from PIL import Image

from shinso.run import RunDirectory


class Api(ls.LitAPI):
    def setup(self, device):
        torch.set_num_threads(1)
        run = RunDirectory(Path(sys.argv[1]))
        self.model, self.column = run.network.eval(), run.schema.given[0]
        self.labels = run.schema.predict[0].labels

    def decode_request(self, request):
        sent = request["image"].file.read()
        picture = Image.open(io.BytesIO(sent)).convert("L")
        return torch.from_numpy(np.array(picture.resize((self.column.width, self.column.height)))[:, :, None])

    def batch(self, inputs):
        return torch.stack(inputs)

    def predict(self, x):
        with torch.no_grad():
            return torch.softmax(next(iter(self.model({self.column.name: x}).values())), -1)

    def unbatch(self, outputs):
        return list(outputs)

    def encode_response(self, shares):
        shares = shares.tolist()
        best = max(range(len(shares)), key=shares.__getitem__)
        return {"label": self.labels[best], "probabilities": dict(zip(self.labels, shares, strict=True))}


if __name__ == "__main__":
    api = Api(max_batch_size=32, batch_timeout=0.005)
    ls.LitServer(api, accelerator="cpu").run(
        port=int(sys.argv[2]), log_level="warning", generate_client_file=False
    )
