"""Small networks of plain PyTorch: a tagger of texts, a U-Net, and a detector like YOLO."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")


class Tagger(torch.nn.Module):
    """Ids [batch, length] -> scores [batch, length, 4] by an LSTM or GRU."""

    def __init__(self, kind: str, vocabulary: int, layers: int = 1, both: bool = False) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, 16)
        recurrent = getattr(torch.nn, kind)
        self.recurrent = recurrent(16, 24, num_layers=layers, batch_first=True, bidirectional=both)
        self.scores = torch.nn.Linear(48 if both else 24, 4)

    def forward(self, ids: Any) -> Any:
        states, _ = self.recurrent(self.embedding(ids))
        return self.scores(states)


class Block(torch.nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = torch.nn.BatchNorm2d(outputs)
        self.activation = torch.nn.SiLU()

    def forward(self, x: Any) -> Any:
        return self.activation(self.norm(self.convolution(x)))


class UNet(torch.nn.Module):
    """Pictures [batch, 3, height, width], sizes a multiple of four -> masks [batch, 1, height, width]."""

    def __init__(self) -> None:
        super().__init__()
        self.down = torch.nn.ModuleList([Block(3, 8), Block(8, 16)])
        self.bottom = Block(16, 32)
        self.up = torch.nn.ModuleList([torch.nn.ConvTranspose2d(32, 16, 2, 2), torch.nn.ConvTranspose2d(16, 8, 2, 2)])
        self.join = torch.nn.ModuleList([Block(32, 16), Block(16, 8)])
        self.mask = torch.nn.Conv2d(8, 1, 1)

    def forward(self, x: Any) -> Any:
        kept = []
        for block in self.down:
            x = block(x)
            kept.append(x)
            x = torch.nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([up(x), kept.pop()], 1))
        return torch.sigmoid(self.mask(x))


class Csp(torch.nn.Module):
    """Cross stage partial block: half of the channels go through residual bottlenecks, the other half around them."""

    def __init__(self, inputs: int, outputs: int, depth: int = 1) -> None:
        super().__init__()
        self.outputs = outputs
        self.enter = Block(inputs, 2 * outputs, 1)
        self.steps = torch.nn.ModuleList(
            [torch.nn.Sequential(Block(outputs, outputs), Block(outputs, outputs))] * depth
        )
        self.leave = Block((2 + depth) * outputs, outputs, 1)

    def forward(self, x: Any) -> Any:
        parts = list(self.enter(x).split(self.outputs, 1))
        for step in self.steps:
            parts.append(parts[-1] + step(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Pyramid(torch.nn.Module):
    """Spatial pyramid pooling: one maximum after another, all of them joined."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter, self.leave = Block(channels, channels // 2, 1), Block(channels * 2, channels, 1)
        self.pool = torch.nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Any) -> Any:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Detector(torch.nn.Module):
    """Pictures [batch, 3, height, width], sizes a multiple of 16 -> [batch, 4 + classes, places], without NMS.

    A box is decoded from a distribution over ``_BINS`` distances for each side, around the middle of its cell.
    """

    _CLASSES, _BINS, _STRIDES = 3, 8, (8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(
            Block(3, 8, 3, 2), Block(8, 8, 3, 2), Csp(8, 8), Block(8, 16, 3, 2), Csp(16, 16)
        )
        self.deep = torch.nn.Sequential(Block(16, 32, 3, 2), Csp(32, 32), Pyramid(32))
        self.top = Csp(48, 16)
        self.bottom = torch.nn.Sequential(Block(16, 16, 3, 2))
        self.join = Csp(48, 32)
        sizes = (16, 32)
        self.boxes = torch.nn.ModuleList([torch.nn.Conv2d(size, 4 * self._BINS, 1) for size in sizes])
        self.classes = torch.nn.ModuleList([torch.nn.Conv2d(size, self._CLASSES, 1) for size in sizes])
        self.register_buffer("bins", torch.arange(self._BINS, dtype=torch.float32))

    def forward(self, x: Any) -> Any:
        near = self.stem(x)
        far = self.deep(near)
        near = self.top(torch.cat([torch.nn.functional.interpolate(far, scale_factor=2.0), near], 1))
        far = self.join(torch.cat([self.bottom(near), far], 1))
        found = []
        for stride, features, boxes, classes in zip(self._STRIDES, (near, far), self.boxes, self.classes, strict=True):
            found.append(self._decode(stride, boxes(features), classes(features)))
        return torch.cat(found, 2)

    def _decode(self, stride: int, boxes: Any, classes: Any) -> Any:
        rows, _, height, width = boxes.shape
        weights = boxes.view(rows, 4, self._BINS, height * width).softmax(2)
        left, top, right, bottom = (weights * self.bins[:, None]).sum(2).chunk(4, 1)
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        x, y = x.reshape(1, 1, -1) + 0.5, y.reshape(1, 1, -1) + 0.5
        box = torch.cat([x + (right - left) / 2, y + (bottom - top) / 2, left + right, top + bottom], 1) * stride
        return torch.cat([box, classes.flatten(2).sigmoid()], 1)
