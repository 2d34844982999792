import pytest
import torch
from torch import nn

from nrpurify.core.errors import InputError
from nrpurify.training.discriminator import Discriminator, PairDiscriminator


@pytest.mark.parametrize("side", [32, 64])
def test_one_logit_an_image(side):
    scores = Discriminator(side)(torch.rand(2, 3, side, side))
    assert scores.shape == (2, 1)
    assert scores[0] != scores[1]


def test_layout_is_that_of_esrgans_vgg_critic():
    with torch.device("meta"):
        critic = Discriminator(128)
    kinds = [type(layer) for layer in critic.features]
    assert kinds[:3] == [nn.Conv2d, nn.LeakyReLU, nn.Conv2d]  # no norm behind the first
    assert kinds.count(nn.Conv2d) == 10
    assert kinds.count(nn.BatchNorm2d) == 9
    convs = [layer for layer in critic.features if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convs[::2]] == [64, 128, 256, 512, 512]
    assert [conv.kernel_size[0] for conv in convs] == [3, 4] * 5
    assert [conv.stride[0] for conv in convs] == [1, 2] * 5
    assert critic.hidden.in_features == 8192
    assert 14.4e6 < sum(p.numel() for p in critic.parameters()) < 14.6e6


@pytest.mark.parametrize(("side", "multiple"), [(100, 32), (16, 32), (0, 32)])
def test_side_is_checked(side, multiple):
    with pytest.raises(
        InputError, match=rf"side {side}; the discriminator takes multiples of {multiple}"
    ):
        Discriminator(side)
    with pytest.raises(InputError, match="multiples of 4"):
        Discriminator(6, (2, 2))


@pytest.mark.parametrize("joint", [True, False])
def test_halves_in_one_batch_or_in_two(joint):
    torch.manual_seed(0)
    critic = Discriminator(32, (4, 4, 4, 4, 4))
    purified, clean = torch.rand(2, 4, 3, 32, 32)
    first, second = PairDiscriminator(critic, joint=joint)(purified, clean)
    together = critic(torch.cat([purified, clean]))
    apart = torch.cat([critic(purified), critic(clean)])
    wanted, other = (together, apart) if joint else (apart, together)
    torch.testing.assert_close(torch.cat([first, second]), wanted)
    assert (torch.cat([first, second]) - other).abs().max() > 1e-3
