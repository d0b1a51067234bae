"""CIF's weights were to be taught to add up to the tokens of the transcript, and were not.

`Cif.quantity_loss` stood there, tested, and no training called it: at a rate the weights are scaled
to fire as often as asked, so nothing went visibly wrong, and a threshold of 1 fired as it liked.
Since then a compressor says what it adds to the loss, and the model's forward asks.
"""

import torch

from avsr.rates import Rates
from avsr.views import View
from tests.tiny import ByteTokenizer, tiny_features, tiny_model


def test_training_asks_the_compressors_for_their_own_loss() -> None:
    clips, texts = tiny_features((40, 22)), [torch.tensor(ByteTokenizer().encode("bin blue"))] * 2
    views = [View(0, Rates(4, None)), View(1, Rates(4, 2))]
    parts = {}
    for weight in (0.0, 0.1, 0.2):
        config = {"name": "cif", "quantity": weight}
        model = tiny_model(audio_rates=(4,), video_rates=(2,), compress=config).train()
        losses = model(clips, views, texts)
        parts[weight] = losses
        if weight:
            model.zero_grad()
            losses.compress.backward()
            for kind in ("audio", "video"):
                assert model.compressor_of(kind).weigh.bias.grad.abs() > 0
    assert parts[0.0].compress is None
    torch.testing.assert_close(parts[0.2].compress, 2 * parts[0.1].compress)
    torch.testing.assert_close(parts[0.1].total, parts[0.0].total + parts[0.1].compress)
    alone = model(clips, views[:1], texts)  # lips that no view reads have no say
    assert alone.compress < parts[0.2].compress
    assert tiny_model(compress={"name": "pool"})(tiny_features((8,)), [View(0, Rates(4, None))],
                                                 texts[:1]).compress is None  # fmt: skip
