"""The convolutions of VGG16 and AlexNet, every layer by its usual name."""

from torch import nn

from nrpurify.models.registry import register_body


@register_body("vgg16", layer="conv3_3")
@register_body("hed_vgg16", layer="conv3_3")
def vgg16_body() -> nn.Sequential:
    """The 13 convolutions of VGG16, every layer by its usual name (conv1_1, relu1_1, pool1...)."""
    body = nn.Sequential()
    channels = 3
    for block, (count, width) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for index in range(1, count + 1):
            body.add_module(f"conv{block}_{index}", nn.Conv2d(channels, width, 3, padding=1))
            body.add_module(f"relu{block}_{index}", nn.ReLU(inplace=True))
            channels = width
        body.add_module(f"pool{block}", nn.MaxPool2d(2))
    return body


@register_body("alexnet", layer="conv3")
def alexnet_body() -> nn.Sequential:
    """The five convolutions of torchvision's AlexNet, as conv1, relu1, pool1 ... relu5."""
    body = nn.Sequential()
    shapes = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
    inputs = 3
    for index, (outputs, size, stride, padding) in enumerate(shapes, 1):
        body.add_module(f"conv{index}", nn.Conv2d(inputs, outputs, size, stride, padding))
        body.add_module(f"relu{index}", nn.ReLU(inplace=True))
        if index <= 2:
            body.add_module(f"pool{index}", nn.MaxPool2d(3, 2))
        inputs = outputs
    return body
