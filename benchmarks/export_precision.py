"""What fp16 and int8 arithmetic cost in accuracy: ONNX files of a purifier before a classifier.

The attack is MI-FGSM on a surrogate; it does not know the purifier. For int8 onnxruntime quantizes
the convolutions of the network, one scale a channel, with activation ranges of 16 photos, half of
them with uniform noise of ±8/255. The gate and the last convolution stay in fp32. The largest
difference from fp32 is of four of the photos, two of them with that noise.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from timing import write_table
from torch import Tensor

from nrpurify import attacks
from nrpurify.core.image_files import find_images
from nrpurify.core.images import from_uint8, load_batch, to_uint8
from nrpurify.data.labels import labeled_images
from nrpurify.defenses.engines import open_engine
from nrpurify.export import export
from nrpurify.models import Classifier, load_classifier

CALIBRATION, COMPARED, BATCH = 16, 4, 10
IN_FP32 = {
    "int8, all but gate and last convolution": ("gate.", "network.detail_tail."),
    "int8, in fp32 also the first convolution and the last stage": (
        "gate.",
        "network.detail",
        "network.head.",
        "network.tail.",
    ),
}


def with_noise(photos: Tensor) -> Tensor:
    """Every second photo with uniform noise of ±8/255."""
    noise = torch.rand(photos.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise[::2] = 0
    return (photos + noise * 8 / 255).clamp(0, 1)


class Photos:
    """The reader that onnxruntime's calibration takes."""

    def __init__(self, photos: Tensor) -> None:
        self.rest: Iterator[Any] = iter(photos.split(1))

    def get_next(self) -> dict[str, Any] | None:
        part = next(self.rest, None)
        return None if part is None else {"images": part.numpy()}


def quantized(source: Path, target: Path, kept: tuple[str, ...], photos: Tensor) -> Path:
    """An int8 file; convolutions whose weights' names begin with one of ``kept`` stay in fp32."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    entries = {entry.key: entry.value for entry in onnx.load(str(source)).metadata_props}
    # the file stores weights as halves behind a cast, which the quantizer does not look through
    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    model = onnx.load(str(target))
    excluded = [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1].startswith(kept)
    ]
    quantize_static(
        model,
        str(target),
        Photos(photos),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=excluded,
        calibrate_method=CalibrationMethod.MinMax,
    )
    made = onnx.load(str(target))
    onnx.helper.set_model_props(made, entries)
    onnx.save(made, str(target))
    return target


def accuracy(victim: Classifier, images: Tensor, labels: Tensor) -> float:
    """In percent."""
    with torch.inference_mode():
        right = [
            (victim(part).argmax(1) == wanted).float()
            for part, wanted in zip(images.split(BATCH), labels.split(BATCH), strict=True)
        ]
    return 100 * float(torch.cat(right).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True, help="training photos, for ranges")
    parser.add_argument("--skip", type=int, default=250)
    parser.add_argument("--limit", type=int, default=250)
    parser.add_argument("--purifier", default="fast")
    parser.add_argument("--surrogate", default="squeezenet1_1")
    parser.add_argument("--victim", default="efficientnet_lite0")
    parser.add_argument("--out", type=Path, help="write the JSON here and not to results/")
    args = parser.parse_args()
    found = labeled_images(args.images, args.labels).items
    items = found[args.skip : args.skip + args.limit]
    labels = torch.tensor([item.label for item in items])
    clean = load_batch([item.path for item in items], 224, crop=True)
    surrogate, victim = load_classifier(args.surrogate), load_classifier(args.victim)
    attack = attacks.MIFGSM()
    attacked = torch.cat([attack(surrogate, part, eps=8 / 255) for part in clean.split(BATCH)])
    attacked = from_uint8(to_uint8(attacked))
    some = find_images(args.photos, recursive=True)[:CALIBRATION]
    photos = with_noise(load_batch([file.path for file in some], 224, crop=True))
    sets = [photos[:COMPARED], clean, attacked]
    rows: list[list[Any]] = [
        [
            "none",
            None,
            None,
            accuracy(victim, clean, labels),
            accuracy(victim, attacked, labels),
            "",
        ]
    ]
    print(rows[0], flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fp32 = export(args.purifier, folder / "fp32.onnx").path
        files = {
            "fp32": fp32,
            "fp16": export(args.purifier, folder / "fp16.onnx", precision="fp16").path,
        }
        for number, (title, kept) in enumerate(IN_FP32.items()):
            files[title] = quantized(fp32, folder / f"int8-{number}.onnx", kept, photos)
        reference: list[Tensor] = []
        for title, file in files.items():
            engine = open_engine(file)
            purified = [
                torch.cat([torch.from_numpy(engine(part.numpy())) for part in images.split(BATCH)])
                for images in sets
            ]
            reference = reference or purified
            scores = [accuracy(victim, images, labels) for images in purified[1:]]
            largest = 255 * float((purified[0] - reference[0]).abs().max())
            best = rows[1][3:5] if rows[1:] else scores
            lost = max(was - now for was, now in zip(best, scores, strict=True))
            size = file.stat().st_size / 1e6
            shown = None if title == "fp32" else float(f"{largest:.2g}")
            rows.append([title, size, shown, *scores, "yes" if lost < 1 else "no"])
            print(rows[-1], flush=True)
    write_table(
        "export-precision",
        f"ONNX files of {args.purifier}; accuracy of {args.victim} in percent on {len(items)} "
        f"images of ImageNet-NeurIPS from number {args.skip + 1} by file name, 224 pixels, clean "
        f"and under MI-FGSM 8/255 from {args.surrogate}; kept: loses less than one point of fp32's",
        {"arithmetic": 1, "size, MB": 1, "largest difference from fp32, of 255": 1, "clean": 1,
         "attacked": 1, "kept": 1},
        rows,
        threads=torch.get_num_threads(),
        out=args.out,
    )  # fmt: skip


if __name__ == "__main__":
    main()
