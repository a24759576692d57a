"""Reading and transforming images in threads, and ahead of time if it is known what comes next.

Pillow lets other threads run while it decodes and resizes. Pixels depend on the image and the random choices made for
it alone, never on who reads what when.

Does not: make random choices, or keep pixels that were given out.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wegeft.tasks.image_source import ImageExample, open_image
from wegeft.tasks.image_transform import Draw, Transform

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Wanted = tuple[ImageExample, Draw | None]
"""An image, and the random choices for it."""

_Key = tuple[str, Draw | None]
_Begun = dict[_Key, Future[Pixels]]


class ImageReader:
    """From images to pixels, by as many threads as torch computes with."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform
        self._begun: tuple[_Begun, _Begun] = ({}, {})  # by the last expectation but one, and by the last

    def expect(self, wanted: Sequence[Wanted]) -> None:
        """Begin to read ``wanted`` for a `read` to come; what was expected twice before and not read is given up."""
        given_up, last = self._begun
        for future in given_up.values():
            future.cancel()
        self._begun = (last, self._begin(wanted))

    def read(self, wanted: Sequence[Wanted]) -> Tensor:
        """The images decoded and transformed: (B, H, W, C), uint8.

        Raises:
            UserError: a file cannot be decoded.
        """
        expected = {_key(pair): future for pair in wanted if (future := self._taken(_key(pair)))}
        futures = expected | self._begin([pair for pair in wanted if _key(pair) not in expected])
        images = [futures[_key(pair)].result() if _key(pair) in futures else self._pixels(pair) for pair in wanted]
        return torch.from_numpy(np.stack(images))

    def _taken(self, key: _Key) -> Future[Pixels] | None:
        return next((begun.pop(key) for begun in self._begun if key in begun), None)

    def _begin(self, wanted: Sequence[Wanted]) -> _Begun:
        """Let the threads read the files of ``wanted``; what lies in memory is not worth a thread."""
        files = [pair for pair in wanted if isinstance(pair[0].image, Path)]
        return {_key(pair): self._threads.submit(self._pixels, pair) for pair in files}

    def _pixels(self, wanted: Wanted) -> Pixels:
        example, draw = wanted
        return self._transform.apply(open_image(example), draw)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="images")


def _key(wanted: Wanted) -> _Key:
    example, draw = wanted
    return example.uid, draw
