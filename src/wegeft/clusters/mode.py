"""``mode=clusters``: the heat maps of a trained run on chosen images, and where its clusters look.

Writes into the run's own folder, ``clusters/``: a contact sheet per image (``NUMBER.png``), ``index.html`` with all of
them, and ``localisation.json`` where the boxes of the objects are known.

Does not: train, or change a record.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from wegeft.clusters.maps import Maps, cluster_maps, heat, share_inside
from wegeft.clusters.page import Shown, percent, render
from wegeft.clusters.scores import Layer, Localisation, layer_score
from wegeft.clusters.sheet import contact_sheet
from wegeft.config import RunConfig
from wegeft.errors import UserError
from wegeft.experiment import check_adapter, check_fit, choose_device, load_backbone, run_folder
from wegeft.files import write_atomically
from wegeft.methods import build_method
from wegeft.methods.base import Method
from wegeft.progress import progress
from wegeft.records.identity import run_id
from wegeft.tasks import build_task
from wegeft.tasks.image import ImageTask
from wegeft.tasks.image_reader import ImageReader
from wegeft.tasks.image_source import ImageExample, open_image
from wegeft.tasks.image_transform import Transform
from wegeft.training import adapter_file

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER, PAGE, SCORES = "clusters", "index.html", "localisation.json"


@dataclass(frozen=True)
class Seen:
    """What the network makes of a batch of images: pixels (B, H, W, C), predicted classes, maps by layer."""

    pixels_BHWC: Tensor
    predicted: list[int]
    maps: dict[str, Maps]


class Viewer:
    """An adapted network and its task, asked for maps batch by batch."""

    def __init__(self, method: Method, task: ImageTask) -> None:
        self.method, self.task = method, task
        self._transform = Transform(task.config.test_transform)
        self._reader = ImageReader(self._transform)
        self._first = next(method.backbone.parameters())

    def see(self, examples: Sequence[ImageExample]) -> Seen:
        """Maps of ``examples``, on the CPU."""
        pixels_BHWC = self._reader.read([(example, None) for example in examples])
        input_BCHW = self.task.config.normalisation(pixels_BHWC.to(self._first.device), self._first.dtype)
        logits_BK, maps = cluster_maps(self.method, input_BCHW)
        return Seen(pixels_BHWC, logits_BK.argmax(dim=1).tolist(), {name: _on_cpu(own) for name, own in maps.items()})

    def inside(self, examples: Sequence[ImageExample], seen: Seen) -> Tensor:
        """The pixels (B, H, W) inside the box of each example, cropped and resized as the image was."""
        masks = [np.asarray(self._transform.apply(_box_image(example))) for example in examples]
        return torch.from_numpy(np.stack(masks)[..., 0] > 127).view(seen.pixels_BHWC.shape[:3])


def clusters(config: RunConfig) -> None:
    """Write the cluster maps of the run that ``config`` describes.

    Raises:
        UserError: the run has no adapter, works on no images, or its method has no clusters; or an image is unknown.
    """
    task = build_task(config.task)
    if not isinstance(task, ImageTask):
        raise UserError(f"mode=clusters needs images, and task={task.name} has none.")
    check_fit(config)
    identity = run_id(config.plain())
    folder = run_folder(config, identity)
    adapter = Path(config.adapter) if config.adapter else folder / adapter_file.NAME
    candidates = _candidates(task, config)
    check_adapter(config, adapter)
    viewer = Viewer(_trained(config, adapter), task)
    shown = [_drawn(viewer, example) for example in _chosen(viewer, candidates, config)]
    localisation = _localisation(viewer, config)
    title = f"{config.method['name']} · {task.name}/{task.config.subset} · {config.model.name} · seed {config.seed}"
    for number, image in enumerate(shown):
        write_atomically(folder / FOLDER / f"{number}.png", image.sheet)
    write_atomically(folder / FOLDER / PAGE, render(title, identity, shown, localisation).encode())
    if localisation is not None:
        write_atomically(folder / FOLDER / SCORES, (json.dumps(asdict(localisation), indent=1) + "\n").encode())
    _report(folder / FOLDER / PAGE, len(shown), localisation, Console())


def _trained(config: RunConfig, adapter: Path) -> Method:
    """The method of the run, attached and loaded from the file ``adapter``."""
    device = choose_device(config)
    torch.manual_seed(config.seed)  # random weights, where the backbone has no others, are those of the run
    backbone = load_backbone(config, device)
    method = build_method(config.method)
    method.attach(backbone.model, config.model.head_modules)
    adapter_file.load(method, adapter)
    return method


def _candidates(task: ImageTask, config: RunConfig) -> Sequence[ImageExample]:
    """The images that are named, or all of the class; UserError for one that there is not."""
    wanted, examples = config.clusters, task.test_examples()
    if wanted.images is not None:
        known = {example.uid: example for example in examples}
        unknown = [uid for uid in wanted.images if uid not in known]
        if unknown:
            raise UserError(f"clusters.images={unknown[0]} is no test image of the task, e.g. {examples[0].uid}.")
        return [known[uid] for uid in wanted.images]
    names = list(task.source.classes())
    if wanted.class_name is not None and wanted.class_name not in names:
        raise UserError(f"clusters.class_name={wanted.class_name} is none of {', '.join(names[:10])} ...")
    return [e for e in examples if wanted.class_name is None or names[e.label] == wanted.class_name]


def _chosen(viewer: Viewer, candidates: Sequence[ImageExample], config: RunConfig) -> Sequence[ImageExample]:
    """The images to show: those named, or the first candidates, by default only rightly classified ones."""
    wanted = config.clusters
    if wanted.images is not None:
        return candidates
    found: list[ImageExample] = []
    for example in candidates:
        if len(found) == wanted.limit:
            break
        if not wanted.only_right or viewer.see([example]).predicted == [example.label]:
            found.append(example)
    return found


def _drawn(viewer: Viewer, example: ImageExample) -> Shown:
    seen = viewer.see([example])
    height, width = seen.pixels_BHWC.shape[1:3]
    heats = {
        name: (_as_shown(own.before_BRHW, height, width), _as_shown(own.after_BRHW, height, width))
        for name, own in seen.maps.items()
    }
    buffer = io.BytesIO()
    contact_sheet(seen.pixels_BHWC[0].numpy(), heats).save(buffer, "PNG")
    names = viewer.task.source.classes()
    return Shown(example.uid, names[example.label], names[seen.predicted[0]], buffer.getvalue())


def _as_shown(maps_1RHW: Tensor, height: int, width: int) -> NDArray[np.float32]:
    shown_RHW: NDArray[np.float32] = heat(maps_1RHW, height, width)[0].numpy()
    return shown_RHW


def _localisation(viewer: Viewer, config: RunConfig) -> Localisation | None:
    """Scores over the first ``clusters.scored`` test images whose box is known; None if there are none."""
    boxed = [example for example in viewer.task.test_examples() if example.box is not None][: config.clusters.scored]
    if not boxed:
        return None
    size = config.evaluation.usual_batch_size(choose_device(config).type == "cuda")
    shares: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
    covered: list[Tensor] = []
    with progress(len(boxed), "localise") as advance:
        for start in range(0, len(boxed), size):
            batch = boxed[start : start + size]
            seen = viewer.see(batch)
            inside_BHW = viewer.inside(batch, seen)
            covered.append(inside_BHW.double().mean((1, 2)))
            for name, own in seen.maps.items():
                for kept, maps_BRHW in zip(
                    shares.setdefault(name, ([], [])), (own.before_BRHW, own.after_BRHW), strict=True
                ):
                    kept.append(share_inside(heat(maps_BRHW, *inside_BHW.shape[1:]), inside_BHW))
            advance(len(batch))
    layers = tuple(Layer(name, layer_score(before), layer_score(after)) for name, (before, after) in shares.items())
    return Localisation(len(boxed), float(torch.cat(covered).mean()), layers)


def _box_image(example: ImageExample) -> "Image":
    """A black image of the size of the example's, white inside the box."""
    from PIL import Image, ImageDraw

    mask = Image.new("RGB", open_image(example).size)
    assert example.box is not None
    left, top, right, bottom = example.box
    ImageDraw.Draw(mask).rectangle((left, top, right - 1, bottom - 1), fill="white")
    return mask


def _on_cpu(maps: Maps) -> Maps:
    return Maps(maps.before_BRHW.cpu(), maps.after_BRHW.cpu())


def _report(page: Path, count: int, localisation: Localisation | None, console: Console) -> None:
    console.print(f"{count} images: {page}")
    if localisation is None:
        return
    console.print(
        f"share of the heat inside the object's box, {localisation.images} images "
        f"(evenly spread: {percent(localisation.even)} %):"
    )
    for layer in localisation.layers:
        console.print(f"  {layer.layer}: {percent(layer.before.mean)} % before, {percent(layer.after.mean)} % after")
