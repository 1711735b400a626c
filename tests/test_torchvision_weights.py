"""torchvision:// weights: the same features as torchvision's network, or a refusal."""

import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.utils import model_zoo, torchvision_weights
from maskrcnn_benchmark.utils.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.utils.torchvision_weights import from_torchvision, load_torchvision_format

NEEDED = (
    *("INPUT.TO_BGR255", False, "INPUT.PIXEL_MEAN", (0.485, 0.456, 0.406)),
    *("INPUT.PIXEL_STD", (0.229, 0.224, 0.225), "MODEL.RESNETS.STRIDE_IN_1X1", False),
)
RESNEXT = ("MODEL.RESNETS.NUM_GROUPS", 32, "MODEL.RESNETS.WIDTH_PER_GROUP", 4)


def _cfg(*options, body="R-50-FPN"):
    cfg = global_cfg.clone()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.CONV_BODY", body, *options])
    return cfg


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Build networks of torchvision with made weights and statistics, and write their files."""
    made = {}
    folder = tmp_path_factory.mktemp("weights")
    for name in ("resnet50", "resnext50_32x4d"):
        torch.manual_seed(1)
        network = torchvision.models.get_model(name, weights=None).eval()
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.uniform_(-0.5, 0.5)
                    module.running_mean.uniform_(-0.5, 0.5)
                    # near epsilon too, where its absence shows
                    module.running_var.uniform_(1e-5, 1).mul_(3)
        torch.save(network.state_dict(), folder / f"{name}-0123abcd.pth")
        made[name] = network, str(folder / f"{name}-0123abcd.pth")
    return made


@pytest.fixture
def downloads(networks, monkeypatch):
    """Replace the download; return the list of the addresses that are requested."""
    asked = []

    def cache_url(url):
        asked.append(url)
        return networks[url.rpartition("/")[2].rpartition("-")[0]][1]

    monkeypatch.setattr(model_zoo, "cache_url", cache_url)
    return asked


@pytest.mark.parametrize(
    ("name", "options"), [("resnet50", ()), ("resnext50_32x4d", RESNEXT)], ids=["R", "X"]
)
def test_features_are_those_of_torchvision(networks, downloads, name, options):
    cfg = _cfg(*NEEDED, *options)
    body = build_backbone(cfg).body.eval()
    before = {key: value.clone() for key, value in body.state_dict().items()}
    DetectronCheckpointer(cfg, body).load(f"torchvision://{name}")
    assert [url.rpartition("/")[2].rpartition("-")[0] for url in downloads] == [name]
    assert not [key for key, old in before.items() if torch.equal(old, body.state_dict()[key])]
    layers = ["layer1", "layer2", "layer3", "layer4"]
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = create_feature_extractor(networks[name][0], layers)(image)
        found = body(image)
    for layer, features in zip(layers, found, strict=True):
        scale = expected[layer].abs().max()
        assert scale > 1e-3
        # fifty layers enlarge the roundings in which two ways to normalise differ
        torch.testing.assert_close(features / scale, expected[layer] / scale, rtol=0, atol=1e-4)


def test_epsilon_is_folded_in():
    state = {"bn1.running_var": torch.tensor([0.0, 2.0]), "bn1.num_batches_tracked": torch.ones(1)}
    (entry,) = from_torchvision(state).items()
    assert entry[0] == "stem.bn1.running_var" and entry[1].tolist() == pytest.approx(
        [1e-5, 2.00001]
    )


def test_heads_that_go_on_where_the_body_ends_take_the_last_stage(networks, downloads):
    cfg = _cfg(*NEEDED, body="R-50-C4")
    model = build_detection_model(cfg)
    DetectronCheckpointer(cfg, model).load("torchvision://resnet50")
    own, source = model.state_dict(), networks["resnet50"][0].state_dict()
    head = "roi_heads.box.feature_extractor.head.layer4.2.conv3.weight"
    assert torch.equal(own[head], source["layer4.2.conv3.weight"])
    assert torch.equal(own["backbone.body.stem.conv1.weight"], source["conv1.weight"])


def test_deformable_stages_take_their_convolutions_inside(networks, downloads):
    cfg = _cfg(*NEEDED, "MODEL.RESNETS.STAGE_WITH_DCN", (False, False, False, True))
    names = set(load_torchvision_format(cfg, "torchvision://resnet50")["model"])
    own = {name for name in build_backbone(cfg).body.state_dict() if ".offset." not in name}
    assert names == own and "layer4.1.conv2.conv.weight" in names


@pytest.mark.parametrize(
    ("options", "complaints"),
    [
        (
            (),
            ["INPUT.TO_BGR255: expected False, got True", "STRIDE_IN_1X1: expected False, got Tr"],
        ),
        (
            (),
            [r"PIXEL_MEAN: expected \[0.485, 0.456, 0.406\], got \[102.9801", r"PIXEL_STD.*0.229"],
        ),
        (
            (*NEEDED, "INPUT.TO_BGR255", True),
            ["settings:\n  INPUT.TO_BGR255: expected False[^\n]*$"],
        ),
        (
            (*NEEDED, *RESNEXT),
            ["NUM_GROUPS: expected 1, got 32", "WIDTH_PER_GROUP: expected 64, got 4"],
        ),
        (
            (*NEEDED, "MODEL.BACKBONE.CONV_BODY", "R-101-FPN"),
            ["CONV_BODY: expected one of R-50-…, got R-101-FPN$"],
        ),
        (
            (*NEEDED, "MODEL.RESNETS.TRANS_FUNC", "BottleneckWithGN"),
            ["TRANS_FUNC: expected BottleneckWithFixedBatchNorm, got BottleneckWithGN"],
        ),
    ],
)
def test_other_settings_are_refused_by_name(downloads, options, complaints):
    for complaint in complaints:
        with pytest.raises(ValueError, match=f"(?s)torchvision://resnet50 needs.*{complaint}"):
            load_torchvision_format(_cfg(*options), "torchvision://resnet50")
    assert downloads == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("resnet18", "expected torchvision:// and one of resnet50, "),
        ("resnet50/V7", "torchvision's resnet50 has IMAGENET1K_V1, IMAGENET1K_V2, not V7"),
    ],
)
def test_unknown_names_are_named(name, complaint):
    with pytest.raises(ValueError, match=complaint):
        load_torchvision_format(_cfg(*NEEDED), f"torchvision://{name}")


def test_every_body_has_an_address_and_its_version_can_be_chosen(monkeypatch):
    asked = []

    def refuse(url):
        asked.append(url)
        raise OSError("no net")

    monkeypatch.setattr(model_zoo, "cache_url", refuse)
    for name, body in torchvision_weights._BODIES.items():
        options = ("MODEL.RESNETS.NUM_GROUPS", body.groups)
        options += ("MODEL.RESNETS.WIDTH_PER_GROUP", body.width_per_group)
        with pytest.raises(OSError):
            load_torchvision_format(
                _cfg(*NEEDED, *options, body=f"{body.depth}-FPN"), f"torchvision://{name}"
            )
    with pytest.raises(OSError):
        load_torchvision_format(_cfg(*NEEDED), "torchvision://resnet50/IMAGENET1K_V2")
    assert asked[0] == "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    assert asked[-1] == "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"
    assert len(set(asked)) == len(torchvision_weights._BODIES) + 1


def test_training_goes_on_in_the_same_channel_order(downloads, tmp_path):
    cfg, body = _cfg(*NEEDED), torch.nn.Linear(2, 2)
    checkpointer = DetectronCheckpointer(cfg, body, save_dir=str(tmp_path), save_to_disk=True)
    checkpointer.save("model", iteration=3)
    assert torch.load(tmp_path / "model.pth")["channel_order"] == "RGB"
    assert checkpointer.load("torchvision://resnet50") == {"iteration": 3}
