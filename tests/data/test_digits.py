import torch

from stablebench.data.tasks import digits


def test_the_two_parts_hold_every_image_once():
    from sklearn.datasets import load_digits

    train, test = digits.load("train"), digits.load("test")
    assert train.inputs.shape == (1297, 64, 1) and test.inputs.shape == (500, 64, 1)
    pixels, classes = load_digits(return_X_y=True)
    expected = torch.cat([torch.from_numpy(pixels).float() / 16, torch.from_numpy(classes).float()[:, None]], dim=1)
    ours = torch.cat(
        [
            torch.cat([train.inputs, test.inputs]).squeeze(2),
            torch.cat([train.targets, test.targets]).float()[:, None],
        ],
        dim=1,
    )
    assert sorted(ours.tolist()) == sorted(expected.tolist())


def test_pixels_lie_in_unit_interval():
    """Pixels lie in the unit interval and every class is in both parts."""
    for name in ("train", "test"):
        batch = digits.load(name)
        assert batch.inputs.min() == 0.0 and batch.inputs.max() == 1.0
        assert batch.targets.unique().tolist() == list(range(10))


def test_permuted_shows_the_same_pixels_in_one_fixed_order():
    plain, permuted = digits.load("test"), digits.load("test", permuted=True)
    order = digits.permutation()
    assert sorted(order.tolist()) == list(range(64)) and order.tolist() != list(range(64))
    for t in (0, 1, 63):
        assert torch.equal(permuted.inputs[:, t], plain.inputs[:, order[t]])
    assert torch.equal(permuted.targets, plain.targets)


def test_the_split_is_the_same_in_every_version():
    # the first classes of both parts: a changed random stream or file would change every score
    assert digits.load("train").targets[:8].tolist() == [6, 5, 5, 7, 9, 9, 8, 4]
    assert digits.load("test").targets[:8].tolist() == [3, 0, 7, 1, 3, 8, 3, 4]
