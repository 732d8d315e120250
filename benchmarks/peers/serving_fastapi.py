"""An image classifier behind FastAPI and eager PyTorch, as most people write it."""

import io
import sys
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

from shinso.run import RunDirectory

run = RunDirectory(Path(sys.argv[1]))
model, column, labels = run.network.eval(), run.schema.given[0], run.schema.predict[0].labels
torch.set_num_threads(1)
app = FastAPI()


@app.get("/ready")
async def ready():
    return {"ready": True}


@app.post("/predict")
async def predict(image: UploadFile):
    picture = Image.open(io.BytesIO(await image.read())).convert("L").resize((column.width, column.height))
    x = torch.from_numpy(np.array(picture)[None, :, :, None])
    with torch.no_grad():
        logits = model({column.name: x})
    shares = torch.softmax(next(iter(logits.values())), -1)[0].tolist()
    best = max(range(len(shares)), key=shares.__getitem__)
    return {"label": labels[best], "probabilities": dict(zip(labels, shares, strict=True))}


uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
