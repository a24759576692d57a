"""The order of the data is a function of seed and step alone."""

import itertools
from functools import partial

from wegeft.training.order import WINDOW, epoch_order, global_batches, length_grouped_order


def test_every_epoch_sees_every_example_once_in_another_order() -> None:
    first, second = epoch_order(100, seed=42, epoch=0), epoch_order(100, seed=42, epoch=1)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert first == epoch_order(100, seed=42, epoch=0)
    assert first != epoch_order(100, seed=43, epoch=0)


def test_the_last_batch_of_an_epoch_is_kept_smaller() -> None:
    batches = list(global_batches(10, batch_size=4, seed=0, steps=6))
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    assert sorted(itertools.chain(*batches[:3])) == list(range(10))


def test_starting_later_gives_the_same_batches() -> None:
    whole = list(global_batches(23, batch_size=4, seed=7, steps=20))
    for start in (0, 1, 6, 13, 19):
        assert list(global_batches(23, batch_size=4, seed=7, steps=20, start=start)) == whole[start:]


def test_grouped_batches_hold_similar_lengths_and_every_example_once() -> None:
    lengths = [(7 * i) % 101 for i in range(1003)]
    order_of = partial(length_grouped_order, lengths, 4, 42)
    steps = -(-len(lengths) // 4)
    batches = list(global_batches(len(lengths), 4, seed=42, steps=2 * steps, order_of=order_of))
    for epoch in (batches[:steps], batches[steps:]):
        assert sorted(itertools.chain(*epoch)) == list(range(len(lengths)))
        spreads = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in epoch]
        assert sum(spreads) / len(spreads) < 10  # of about 60 in a shuffled order
    assert batches[:steps] != batches[steps:]
    middle = [lengths[batch[0]] for batch in batches[:WINDOW]]
    assert middle != sorted(middle)  # short and long batches take turns
