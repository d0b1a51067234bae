"""Prefix probabilities of CTC: how likely a row's frames begin with given tokens.

Data: log-probabilities [N, classes] of one row -> score of every next class after any prefix.
(Graves 2008; as one half of a joint search: Watanabe et al., arXiv 1609.06773, equations 12-16.)

N frames; classes with blank first.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# A token that no training transcript had is no class of the CTC. Its chance a frame is small, so
# that CTC advises against it, and not zero, so that the LLM can overrule.
UNKNOWN = 1e-4
TINY = 1e-30
NEVER = -1e5  # stands for log 0, which would turn into NaN further on; no real path is so unlikely


@dataclass(frozen=True)
class Prefix:
    """How a row's frames can have said the tokens so far.

    Args:
        token: log-probability [N] of all paths up to each frame that end in the last token.
        blank: the same [N], ending in a blank.
        last: class of the last token, 0 before the first.
        total: log-probability that what is said begins with these tokens.
    """

    token: Tensor
    blank: Tensor
    last: int
    total: float


class PrefixScorer:
    """Prefix probabilities of one row.

    Args:
        logp: log-probabilities [N, classes], blank first.
    """

    def __init__(self, logp: Tensor) -> None:
        unknown = torch.full_like(logp[:, :1], UNKNOWN)
        self._chances = torch.cat([logp.exp(), unknown], dim=1)

    @property
    def unknown(self) -> int:
        """Class of every token that the CTC does not know."""
        return self._chances.shape[1] - 1

    def _logp(self, index: int) -> Tensor:
        """Log-probability [N] of one class."""
        return self._chances[:, index].double().clamp_min(TINY).log()

    def start(self) -> Prefix:
        """Nothing said yet: blanks alone."""
        blank = self._logp(0).cumsum(0)
        return Prefix(torch.full_like(blank, NEVER), blank, 0, 0.0)

    def totals(self, prefix: Prefix) -> Tensor:
        """Log-probability [classes + 1] that what is said begins with the prefix and each class.

        The first, blank, means nothing; the last is any unknown token.
        """
        either = torch.logaddexp(prefix.token, prefix.blank)
        before = _later(either, first=prefix.last == 0)
        top = before.max()
        weights = (before - top).exp().to(self._chances)  # the table is wide: not in fp64
        totals = (weights @ self._chances).double().log() + top
        if prefix.last > 0:  # the same token again needs a blank between
            again = _later(prefix.blank, first=False) + self._logp(prefix.last)
            totals[prefix.last] = torch.logsumexp(again, 0)
        return totals.clamp_min(NEVER)

    def end(self, prefix: Prefix) -> float:
        """Log-probability that the prefix is all that is said."""
        return float(torch.logaddexp(prefix.token[-1], prefix.blank[-1]).clamp_min(NEVER))

    def extend(self, prefix: Prefix, new: int) -> Prefix:
        """The prefix with one more class."""
        either = torch.logaddexp(prefix.token, prefix.blank)
        entering = prefix.blank if new == prefix.last else either
        entering = _later(entering, first=prefix.last == 0)
        token = _run(entering, self._logp(new))
        blank = _run(_later(token, first=False), self._logp(0))
        total = torch.logsumexp(entering + self._logp(new), 0).clamp_min(NEVER)
        return Prefix(token, blank, new, float(total))


def _later(x: Tensor, *, first: bool) -> Tensor:
    """[N] one frame later; before the first frame there is only the empty prefix."""
    return torch.cat([x.new_tensor([0.0 if first else NEVER]), x[:-1]])


def _run(entering: Tensor, logp: Tensor) -> Tensor:
    """x[n] = log(exp(x[n - 1]) + exp(entering[n])) + logp[n], over all frames at once."""
    passed = logp.cumsum(0)
    return (torch.logcumsumexp(entering - passed + logp, 0) + passed).clamp_min(NEVER)
