"""Exported purifiers beside eager PyTorch: one image on the CPU."""

import tempfile
from pathlib import Path

import torch
from timing import Bench, Work, arguments
from torch import Tensor

from nrpurify.core.precision import autocast, bf16_is_fast
from nrpurify.defenses.engines import open_engine
from nrpurify.export import export
from nrpurify.export.parity import SIZES
from nrpurify.purifiers import load_purifier

SUFFIXES = {"ONNX": ".onnx", "OpenVINO": ".xml", "torch.export": ".pt2"}


def eager(name: str, image: Tensor, amp: bool) -> Work:
    purifier = load_purifier(name)
    shown = image.contiguous(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode(), autocast(image.device, amp):
            return purifier(shown)

    return run


def loaded(path: Path, image: Tensor, bf16: bool = False) -> Work:
    if path.suffix == ".pt2":
        program = torch.export.load(path).module()

        def run() -> object:
            with torch.inference_mode():
                return program(image)

        return run
    engine, pixels = open_engine(path, precision="bf16" if bf16 else "f32"), image.numpy()
    return lambda: engine(pixels)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--purifiers", nargs="+", default=["fast", "tiny"])
    args = parser.parse_args()
    bench = Bench("export", args)
    bf16 = bf16_is_fast(torch.device("cpu"))
    torch.manual_seed(0)
    for name in args.purifiers:
        with tempfile.TemporaryDirectory() as folder:
            files = {
                title: export(name, Path(folder) / f"{name}{suffix}", sizes=SIZES[:1]).path
                for title, suffix in SUFFIXES.items()
            }
            for side in (224, 640) if args.full else (224,):
                image = torch.rand(1, 3, side, side)
                sides = {"eager, fp32": eager(name, image, False)}
                if bf16:
                    sides["eager, bf16"] = eager(name, image, True)
                for title, file in files.items():
                    sides[f"{title}, fp32"] = loaded(file, image)
                if bf16:
                    sides["OpenVINO, bf16"] = loaded(files["OpenVINO"], image, bf16=True)
                bench.row(f"`{name}`, 1 × {side}²", sides)
    bench.write()


if __name__ == "__main__":
    main()
