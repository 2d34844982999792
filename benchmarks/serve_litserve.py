"""The purifier behind LitServe, as its documentation shows batches; serve_batchers.py starts it."""

import argparse
import base64
from collections.abc import Sequence

import litserve
import torch
from fastapi import Response

from nrpurify.batch.defend import defend_image, defend_together
from nrpurify.core.images import Image, encode_png, read_image
from nrpurify.purifiers import load_purifier

WHERE = {"device": "cpu", "tile": 512, "amp": "auto"}


class Purify(litserve.LitAPI):
    """JSON with an image file in base64 to a PNG file."""

    def setup(self, device: str) -> None:
        torch.set_num_threads(2)
        self.purifier = load_purifier("fast")

    def decode_request(self, request: dict[str, str]) -> Image:
        return read_image(base64.b64decode(request["image"]))

    def batch(self, inputs: Sequence[Image]) -> Sequence[Image]:
        return inputs

    def predict(self, images: Sequence[Image] | Image) -> object:
        if isinstance(images, Image):
            return defend_image(self.purifier, images, **WHERE)
        together = None
        if len(images) > 1:
            together = defend_together(self.purifier, images, check=False, **WHERE)
        return together or [defend_image(self.purifier, image, **WHERE) for image in images]

    def unbatch(self, output: Sequence[object]) -> Sequence[object]:
        return output

    def encode_response(self, output: tuple[torch.Tensor, torch.Tensor | None]) -> Response:
        return Response(encode_png(*output), media_type="image/png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()
    if args.batch == 1:
        del Purify.batch, Purify.unbatch
    api = Purify(max_batch_size=args.batch, batch_timeout=0.005 if args.batch > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=args.port, generate_client_file=False, log_level="warning")
