import dataclasses
import json
import time

import pytest
import torch

from reskd.models.catalogue import MODELS
from reskd.models.video_model import VideoModel
from reskd.throughput.measure import measure_throughput


@pytest.fixture
def model() -> VideoModel:
    return MODELS["tsn_mini10"].build(num_classes=6, dropout=0.5)


def test_a_measurement_says_what_it_was_taken_on(model):
    result = measure_throughput(model, resolution=24, num_frames=2, device="cpu", batch_size=3, repeats=4)
    assert result.clips_per_s > 0
    assert (result.batch_size, result.num_frames, result.resolution) == (3, 2, 24)
    assert (result.num_threads, result.dtype) == (torch.get_num_threads(), "float32")
    assert result.device
    assert result.repeats == 4
    assert json.loads(json.dumps(result.to_dict())) == dataclasses.asdict(result)


def test_measuring_leaves_the_model_and_the_random_numbers_as_they_were(model):
    model.backbone.eval()
    modes = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    measure_throughput(model, resolution=24, num_frames=2, device="cpu", batch_size=2)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    model(torch.randn(2, 2, 3, 24, 24)).clip_logits.sum().backward()  # still trains


def test_a_used_up_budget_still_gives_one_measurement(model):
    result = measure_throughput(model, resolution=24, num_frames=1, device="cpu", repeats=10**6, max_seconds=0.0)
    assert result.repeats == 1
    assert result.clips_per_s > 0


def test_autocast_and_other_dtypes_are_told(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert measure_throughput(model, resolution=24, num_frames=1, device="cpu", repeats=1).dtype == "bfloat16"
    model.double()
    assert measure_throughput(model, resolution=24, num_frames=1, device="cpu", repeats=1).dtype == "float64"


def test_a_model_that_is_elsewhere_is_refused(model):
    with pytest.raises(ValueError, match="the model is on cpu, not on cuda"):
        measure_throughput(model, resolution=24, num_frames=1, device="cuda")


def test_a_count_below_one_is_refused(model):
    with pytest.raises(ValueError, match="at least 1"):
        measure_throughput(model, resolution=24, num_frames=1, device="cpu", repeats=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_is_measured_under_its_own_name(model):
    result = measure_throughput(model.cuda(), resolution=24, num_frames=2, device="cuda")
    assert result.device == torch.cuda.get_device_name()
    assert result.clips_per_s > 0


def test_clips_a_second_count_every_clip_of_the_batch():
    """A network that takes at least 0.2 s for 64 clips; the lower bound leaves room for a busy machine."""
    model = MODELS["tsn_mini10"].build(num_classes=6, dropout=0.5)
    model.register_forward_hook(lambda *_: time.sleep(0.2))
    result = measure_throughput(model, resolution=8, num_frames=1, device="cpu", batch_size=64, repeats=3)
    assert 20 < result.clips_per_s <= 320
