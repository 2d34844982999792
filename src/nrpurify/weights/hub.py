"""The second source: model hubs, for machines that reach one."""

from pathlib import Path

from torch import Tensor
from torch.hub import load_state_dict_from_url

from nrpurify.core.errors import MissingExtraError, NrpurifyError, WeightsError
from nrpurify.weights.convert import ALEXNET_CONVS, VGG16_CONVS, torchvision_features

_CONVS = {"vgg16": VGG16_CONVS, "alexnet": ALEXNET_CONVS}


def _from_torchvision(name: str, folder: Path) -> dict[str, Tensor]:
    try:
        from torchvision.models import get_model_weights
    except ImportError as error:
        raise MissingExtraError("torchvision", "models") from error
    weights = get_model_weights(name)["IMAGENET1K_V1"]
    raw = weights.get_state_dict(
        model_dir=str(folder), check_hash=True, weights_only=True, progress=False
    )
    return torchvision_features(raw, _CONVS[name])


def _from_timm(name: str, folder: Path) -> dict[str, Tensor]:
    try:
        from timm.models import get_pretrained_cfg
    except ImportError as error:
        raise MissingExtraError("timm", "models") from error
    config = get_pretrained_cfg(name)
    if config is None or not config.url:
        raise WeightsError(f"timm names no file for {name}")
    state: dict[str, Tensor] = load_state_dict_from_url(
        str(config.url),
        model_dir=str(folder),
        check_hash=True,
        weights_only=True,
        progress=False,
        map_location="cpu",
    )
    return state


def load_from_hub(hub: str, folder: Path) -> dict[str, Tensor]:
    """Download ``torchvision:NAME`` or ``timm:NAME`` into ``folder`` and return the state dict.

    The keys are those of the table's contract. The hash in the hub's file name is checked.

    Raises:
        WeightsError: the library is absent, the hub is out of reach or holds something else.
    """
    place, name = hub.split(":")
    try:
        return (_from_torchvision if place == "torchvision" else _from_timm)(name, folder)
    except NrpurifyError as error:
        raise WeightsError(str(error)) from error
    except Exception as error:  # hubs fail in ways of their own: URLError, a moved file, ...
        raise WeightsError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
