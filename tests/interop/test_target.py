import copy

import pytest
import torch
from torch import nn

from nrpurify.attacks import EOT
from nrpurify.core.errors import InputError
from nrpurify.interop import torch_model


def test_answers_are_those_of_the_model_in_eval_mode(model, images):
    before = copy.deepcopy(model.state_dict())
    found = torch_model(model)(images)
    assert model.training
    assert torch.equal(found, copy.deepcopy(model).eval()(images))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_no_mode_and_no_weight_can_be_changed_by_an_attack(model, images):
    target = torch_model(model)
    target.train()
    assert not target.training
    pixels = images.clone().requires_grad_()
    target(pixels).sum().backward()
    assert pixels.grad.abs().sum() > 0
    assert all(w.grad is None and w.requires_grad for w in model.parameters())
    mine = next(model.parameters())
    mine.grad = torch.ones_like(mine)
    target.zero_grad()
    assert mine.grad is not None


def test_half_precision_models_answer_in_float32(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 5)).bfloat16()
    assert torch_model(model)(images).dtype == torch.float32


def test_the_device_comes_from_weights_or_is_given(model):
    assert next(torch_model(model).parameters()).device.type == "cpu"
    assert torch_model(model.to("meta")).device.type == "meta"
    assert torch_model(lambda x: x.mean((2, 3))).device.type == "cpu"
    assert torch_model(lambda x: x.mean((2, 3)), device="meta").device.type == "meta"


def test_other_outputs_are_refused(images):
    with pytest.raises(InputError, match="expected logits of shape"):
        torch_model(lambda x: x)(images)


def test_eot_goes_inside(model, images):
    draws = torch_model(EOT(model, 3))(images)
    torch.testing.assert_close(draws, torch_model(model)(images))
