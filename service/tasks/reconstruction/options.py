"""The options of the task reconstruct."""

from service.tasks.answer import PictureOptions


class Options(PictureOptions):
    """The fields of a request besides its rows."""

    graph: str | None = None
    """one of the graphs that the manifest names; default: the first"""
    error_map: bool = False
    """answer with a map of the differences too"""
